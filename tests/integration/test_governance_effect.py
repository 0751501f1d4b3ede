"""What a proposal would do, tried before the vote: on the embedded chain, on anvil, and where that fails."""

import pytest

from chain.amount import Amount
from chain.artifacts import encode_call
from chain.errors import RpcError
from governance.calls import Call
from governance.effect import Method, try_calls
from governance.parameters import parse_change
from governance.treasury import grant, mint_grant
from marina.cid import cid_from_digest, cid_text
from marina.ids import Account, account_text
from tests.support.dao import COIN, dao_on_anvil, dao_on_devchain, make_devchain, send_raw

ARTIST = Account(b"\x42" * 20)
LIST = cid_text(cid_from_digest(b"\x33" * 32))
CHANGES = [
    ("fee=5%", "the protocol fee", "2.5 %", "5 %"),
    (f"pauser={account_text(ARTIST)}", "who may pause purchases for a week", "nobody", account_text(ARTIST)),
    (f"moderation-list={LIST}", "the moderation list", "none", LIST),
    ("voting-delay=36h", "the time before a vote begins", "1 day", "1 day 12 hours"),
    ("voting-period=7 days", "the time that a vote lasts", "5 days", "7 days"),
    ("threshold=500 MMT", "the votes needed to propose", "1000 MMT", "500 MMT"),
    ("quorum=5%", "the quorum", "4 %", "5 %"),
    ("late-quorum=2 days", "the time to vote after a late quorum", "1 day", "2 days"),
    ("timelock-delay=3 days", "the time between a vote and its execution", "2 days", "3 days"),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("effect") / "template"
    make_devchain(folder)
    return folder


@pytest.fixture
async def world(template, tmp_path):
    async with dao_on_devchain(template, tmp_path / "chain") as made:
        yield made


@pytest.fixture(params=["devchain", "anvil"])
async def any_world(request, template, tmp_path):
    if request.param == "anvil":
        async with dao_on_anvil() as made:
            yield made
    else:
        async with dao_on_devchain(template, tmp_path / "chain") as made:
            yield made


class Plain:
    """An endpoint that cannot replace code for a call: refuses, or looks away."""

    def __init__(self, rpc, *, is_silent: bool) -> None:
        self._rpc = rpc
        self._is_silent = is_silent

    async def call(self, method, params):
        if len(params) == 3 and method == "eth_call":
            if not self._is_silent:
                raise RpcError(-32602, "too many arguments, want at most 2")
            params = params[:2]
        return await self._rpc.call(method, params)


async def test_every_parameter_shows_its_value_before_and_after(any_world):
    dao = any_world.dao
    calls = [parse_change(text, dao.contracts) for text, *_ in CHANGES]
    effect = await dao.effect(calls)
    assert effect.method is Method.TOGETHER
    assert not effect.would_fail
    shown = {(each.title, each.before, each.after) for each in effect.changes}
    assert shown == {tuple(each[1:]) for each in CHANGES}
    assert effect.sentence() == f"executed now, it would go through and change {len(CHANGES)} things"
    assert [each.line.text for each in effect.trials] == [each.text for each in await dao.words(calls)]
    assert (await dao.parameters())["fee"] == 250, "a trial changes nothing"


async def test_payments_show_both_balances(any_world):
    world = any_world
    contracts = world.dao.contracts
    await world.send(world.holder, contracts.timelock, value=50 * 10**18)
    calls = [grant(ARTIST, Amount(2 * 10**18, COIN), contracts), mint_grant(ARTIST, 7 * 10**18, contracts)]
    effect = await world.dao.effect(calls)
    who = account_text(ARTIST)
    assert {(each.title, each.before, each.after) for each in effect.changes} == {
        ("DEV of the treasury", "50 DEV", "48 DEV"),
        (f"DEV of {who}", "0 DEV", "2 DEV"),
        (f"MMT of {who}", "0 MMT", "7 MMT"),
        ("all MMT there is", "1000000 MMT", "1000007 MMT"),
    }


async def test_later_calls_see_what_earlier_ones_did(world):
    contracts = world.dao.contracts
    calls = [
        mint_grant(contracts.timelock, 7 * 10**18, contracts),
        Call(contracts.token, 0, encode_call("MarinaToken", "transfer", bytes(ARTIST), 7 * 10**18)),
    ]
    effect = await world.dao.effect(calls)
    assert not effect.would_fail
    assert (await world.dao.effect(calls[1:])).would_fail


async def test_a_call_that_fails_makes_the_whole_proposal_fail_and_says_why(world):
    contracts = world.dao.contracts
    calls = [
        parse_change("fee=5%", contracts),
        grant(ARTIST, Amount(10**18, COIN), contracts),
        mint_grant(ARTIST, 10**24, contracts),
    ]
    effect = await world.dao.effect(calls)
    assert [each.is_done for each in effect.trials] == [True, False, False]
    assert effect.changes == ()
    assert effect.sentence() == (
        "executed now, it would fail at call 2 and change nothing: the treasury holds only 0 DEV"
    )
    assert "may still be minted" in effect.trials[2].reason


async def test_tokens_tracks_and_roles_that_a_call_touches_are_read(world):
    contracts = world.dao.contracts
    role = bytes(32)
    calls = [
        parse_change(f"allow-token={account_text(contracts.token)}", contracts),
        Call(contracts.timelock, 0, encode_call("TimelockController", "grantRole", role, bytes(ARTIST))),
    ]
    effect = await world.dao.effect(calls)
    assert [(each.before, each.after) for each in effect.changes] == [
        ("none", f"MarinaToken ({account_text(contracts.token)}), allowed"),
        ("no", "yes"),
    ]
    unregistered = await world.dao.effect([parse_change("block=0x" + "11" * 32, contracts)])
    assert "nothing is registered under this id" in unregistered.sentence()


@pytest.mark.parametrize("is_silent", [False, True], ids=["refuses", "looks away"])
async def test_an_endpoint_without_overrides_is_told_apart(world, is_silent):
    contracts = world.dao.contracts
    calls = [
        parse_change("fee=5%", contracts),
        parse_change("quorum=5%", contracts),
        grant(ARTIST, Amount(10**18, COIN), contracts),
    ]
    plain = Plain(world.rpc, is_silent=is_silent)
    effect = await try_calls(plain, calls, await world.dao.glossary())
    assert effect.method is Method.ONE_BY_ONE
    assert [each.is_done for each in effect.trials] == [True, None, False]
    assert effect.trials[2].reason == "the treasury holds only 0 DEV"
    assert effect.changes == ()
    only_fee = await try_calls(plain, calls[:1], await world.dao.glossary())
    assert "only one by one" in only_fee.sentence()


async def deploy(world, runtime: str) -> Account:
    """Create a contract of at most 32 bytes of code."""
    code = bytes.fromhex(runtime)
    # PUSH code, MSTORE at 0 (right-aligned), RETURN its bytes.
    creation = (
        bytes((0x5F + len(code),)) + code + bytes.fromhex(f"60005260{len(code):02x}60{32 - len(code):02x}f3")
    )
    receipt = await send_raw(world.rpc, world.holder, None, creation, 0)
    return Account(bytes.fromhex(receipt["contractAddress"][2:]))


async def test_a_contract_that_answers_a_mebibyte_cannot_fill_the_memory(any_world):
    place = await deploy(any_world, "621000006000f3")  # RETURN(0, 1 << 20)
    fee = parse_change("fee=5%", any_world.dao.contracts)
    effect = await any_world.dao.effect([Call(place, 0, b"\x01\x02\x03\x04"), fee])
    assert [each.is_done for each in effect.trials] == [True, True]
    assert [each.title for each in effect.changes] == ["the protocol fee"]


async def test_a_contract_that_never_ends_is_reported_as_failing():
    async with dao_on_anvil() as world:
        place = await deploy(world, "5b600056")  # JUMPDEST, JUMP to it
        effect = await world.dao.effect([Call(place, 0, b"\x01\x02\x03\x04")])
        assert effect.would_fail
        assert effect.changes == ()


async def test_an_endpoint_that_refuses_to_try_is_not_taken_for_a_contract_that_fails(world):
    class Busy(Plain):
        async def call(self, method, params):
            if method == "eth_call" and params[0].get("from"):
                raise RpcError(-32005, "too many requests")
            return await super().call(method, params)

    calls = [parse_change("fee=5%", world.dao.contracts)]
    effect = await try_calls(Busy(world.rpc, is_silent=False), calls, await world.dao.glossary())
    assert [each.is_done for each in effect.trials] == [None]
    assert "too many requests" in effect.trials[0].reason
    assert not effect.would_fail


async def test_a_proposal_that_changes_nothing_says_so(world):
    effect = await world.dao.effect([parse_change("fee=2.5%", world.dao.contracts)])
    assert effect.sentence().endswith("change nothing that the DAO governs")
