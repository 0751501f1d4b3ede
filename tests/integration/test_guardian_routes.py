"""A guardian's own business on a real chain: its bond, its fee, its way out, also with no chain in sight."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio

from chain.artifacts import decode_call
from chain.errors import InsufficientFundsError, SpendingLimitError
from marina.clock import SystemClock
from marina.errors import NotFoundError, UsageError
from marina.ids import account_text
from marina.metrics import Registry
from marina.secret import Secret
from node.api.fields import Fields
from node.api.routes_guardian import GuardianRoutes
from node.chain.service import ChainService
from node.chain.spending import submit
from node.guardian.service import GuardianService
from node.settings import ChainSettings, SpendSettings
from p2p.peerkey import peer_of_key
from storage.content.holder_text import holder_text
from storage.identity.owner import Owner
from storage.identity.vault_file import KdfCost
from storage.kv import MemoryKv
from tests.support.anvil import anvil
from tests.support.peers import make_host

pytestmark = pytest.mark.filterwarnings(
    # httpx leaves the body of a request that is cancelled to the garbage collector.
    "ignore:Async generator 'httpx._content.ByteStream:ResourceWarning"
)
COIN = 10**18
DAY_S = 86_400
UINT96_MAX = 2**96 - 1
CHEAP = KdfCost(memory_kib=32, iterations=1, lanes=1)
LIMITS = ("20DEV", "5000MMT")


@pytest.fixture(scope="module")
def node():
    with anvil() as running:
        yield running


@pytest.fixture(autouse=True)
def as_before(node):
    """Each test begins on the same chain."""
    name = node.rpc("evm_snapshot")
    yield
    node.rpc("evm_revert", name)


async def no_publish(cid, data):
    await trio.lowlevel.checkpoint()


class Keeper:
    """One node with 300 MMT, and its routes."""

    def __init__(self, home, node, endpoint=None):
        home.mkdir()
        self.node = node
        file = home.parent / f"{home.name}.json"
        file.write_text(node.contracts.to_json(31337, first_block=1))
        clock, store = SystemClock(), MemoryKv()
        self.owner = Owner.create(home, Secret("correct horse battery"), clock=clock, cost=CHEAP)
        self.chain = ChainService(
            settings=ChainSettings("dev", (endpoint or node.url,), str(file)),
            spend=SpendSettings(LIMITS, LIMITS), home=home, store=store, owner=self.owner, clock=clock,
        )  # fmt: skip
        self.service = GuardianService(
            host=make_host("a keeper"), owner=self.owner, chain=self.chain, store=store, publish=no_publish,
            clock=clock, registry=Registry(),
        )  # fmt: skip
        self.routes = GuardianRoutes(chain=self.chain, guardian=self.service, owner=self.owner)
        self.account = self.owner.account
        node.rpc("anvil_setBalance", account_text(self.account), hex(100 * COIN))

    def give(self, units):
        """Give it so many base units of MMT."""
        holder = self.node.accounts[0]
        assert self.node.invoke(holder, "MarinaToken", "transfer", bytes(self.account), units)

    def held(self):
        (units,) = self.node.read("MarinaToken", "balanceOf", bytes(self.account))
        return units

    async def get(self, name):
        """Return what a route without a body answers."""
        context = SimpleNamespace(body=Fields({}), query=Fields({}))
        return (await getattr(self.routes, name)(context)).data

    async def quoted(self, name, **body):
        """Return the quote that a route answers."""
        return (await getattr(self.routes, name)(SimpleNamespace(body=Fields(body)))).data

    async def do(self, name, **body):
        """Confirm what a route offers, and return what kinds of transactions that took."""
        said = await self.quoted(name, **body)
        if not said["transactions"]:
            return []
        for each in await submit(self.chain, said["confirm"], wait_s=20):
            row = await self.chain.get().sender.wait(bytes.fromhex(each["id"]), timeout_s=20)
            assert row.confirmations, row
        return [each["what"] for each in said["transactions"]]

    async def registered(self):
        return (await self.get("status"))["registered"]

    def later(self, seconds):
        self.node.rpc("evm_increaseTime", seconds)
        self.node.rpc("evm_mine")


@pytest.fixture
async def keeper(node, tmp_path):
    made = Keeper(tmp_path / "home", node)
    made.give(300 * COIN)
    async with trio.open_nursery() as nursery:
        await nursery.start(made.chain.run)
        yield made
        nursery.cancel_scope.cancel()


async def test_a_bond_is_taken_once_and_no_second_time(keeper):
    said = await keeper.quoted("enlist", bond="120MMT", fee="1.5")
    assert (said["spend"], [each["what"] for each in said["transactions"]]) == (
        ["120 MMT"], ["token.approve", "guardian.register"],
    )  # fmt: skip
    assert await keeper.do("enlist", bond="120MMT", fee="1.5") == ["token.approve", "guardian.register"]
    known = await keeper.registered()
    assert (known["bond"], known["fee"], known["this_node"]) == ("120 MMT", "1.5 MMT", True)
    assert await keeper.do("enlist", bond="120MMT", fee="1.5MMT") == []
    assert keeper.held() == 180 * COIN
    (listed,) = (await keeper.get("guardians"))["items"]
    assert (listed["peer"], listed["bond"], listed["fee"], listed["unlocks_s"]) == (
        peer_of_key(keeper.owner.device.public_key), "120 MMT", "1.5 MMT", None,
    )  # fmt: skip


async def test_without_a_word_the_smallest_bond_is_offered_and_what_is_registered_stays(keeper):
    assert await keeper.do("enlist") == ["token.approve", "guardian.register"]
    assert ((await keeper.registered())["bond"], (await keeper.registered())["fee"]) == ("100 MMT", "0 MMT")
    assert await keeper.do("enlist", fee="2") == ["guardian.update"]
    assert await keeper.do("enlist") == [], "who says nothing of the fee keeps it"
    assert (await keeper.registered())["fee"] == "2 MMT"


async def test_a_bond_grows_and_does_not_shrink(keeper):
    await keeper.do("enlist", bond="100")
    said = await keeper.quoted("enlist", bond="250", fee="3")
    assert said["spend"] == ["150 MMT"], "only what is missing"
    assert await keeper.do("enlist", bond="250", fee="3") == [
        "token.approve", "guardian.addBond", "guardian.update",
    ]  # fmt: skip
    known = await keeper.registered()
    assert (known["bond"], known["fee"], keeper.held()) == ("250 MMT", "3 MMT", 50 * COIN)
    with pytest.raises(UsageError, match="250 MMT already and does not shrink"):
        await keeper.quoted("enlist", bond="120")
    with pytest.raises(InsufficientFundsError, match="holds 50 MMT"):
        await keeper.quoted("enlist", bond="301")


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ({"bond": "99.9"}, UsageError, "at least 100 MMT"),
        ({"bond": "301"}, InsufficientFundsError, "holds 300 MMT"),
        ({"bond": "6000"}, InsufficientFundsError, "holds 300 MMT"),
        ({"bond": "1DEV"}, UsageError, "MMT"),
        ({"bond": f"{UINT96_MAX}"}, UsageError, "more than fits"),
        ({"fee": f"{UINT96_MAX}"}, UsageError, "more than fits"),
        ({"account": "other"}, UsageError, "own account"),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_paid(keeper, body, error, words):
    await keeper.chain.wallet.create("other")
    with pytest.raises(error, match=words):
        await keeper.quoted("enlist", **body)
    assert (await keeper.registered(), keeper.held()) == (None, 300 * COIN)


async def test_a_bond_is_money_and_the_owners_limits_hold_for_it(keeper):
    keeper.give(10_000 * COIN)
    with pytest.raises(SpendingLimitError):
        await keeper.quoted("enlist", bond="5001")


async def test_a_fee_that_does_not_fit_is_refused_of_a_guardian_too(keeper):
    await keeper.do("enlist")
    with pytest.raises(UsageError, match="more than fits"):
        await keeper.quoted("enlist", fee=f"{UINT96_MAX}")


async def test_who_leaves_waits_fourteen_days_for_the_bond_and_may_come_back(keeper):
    for name in ("beat", "unbond"):
        with pytest.raises(NotFoundError, match="no guardian"):
            await keeper.quoted(name)
    with pytest.raises(NotFoundError, match="no bond"):
        await keeper.quoted("withdraw")
    await keeper.do("enlist", fee="1")
    with pytest.raises(UsageError, match="unbond"):
        await keeper.quoted("withdraw")
    await keeper.chain.wallet.create("other")
    for name in ("beat", "unbond", "withdraw"):
        with pytest.raises(UsageError, match="own account"):
            await keeper.quoted(name, account="other")
    assert await keeper.quoted("beat", account="main")
    before = (await keeper.registered())["active_s"]
    for _ in range(2):
        keeper.later(DAY_S)
        assert await keeper.do("beat") == ["guardian.beat"], "every time anew"
    assert (await keeper.registered())["active_s"] >= before + 2 * DAY_S

    assert await keeper.do("unbond") == ["guardian.unbond"]
    for name in ("beat", "unbond"):
        with pytest.raises(NotFoundError, match="no guardian"):
            await keeper.quoted(name)
    with pytest.raises(UsageError, match="withdraw"):
        await keeper.quoted("enlist")
    with pytest.raises(UsageError, match=r"locked until 20\d\d-\d\d-\d\d"):
        await keeper.quoted("withdraw")
    keeper.later(14 * DAY_S - 60)
    with pytest.raises(UsageError, match="locked"):
        await keeper.quoted("withdraw")
    keeper.later(61)
    assert await keeper.do("withdraw") == ["guardian.withdrawBond"]
    assert (await keeper.registered(), keeper.held()) == (None, 300 * COIN)
    assert (await keeper.get("guardians"))["items"] == []
    assert await keeper.do("enlist") == ["token.approve", "guardian.register"]
    assert keeper.held() == 200 * COIN


async def test_what_an_artist_gets_to_copy_is_what_is_registered(keeper):
    said = await keeper.quoted("enlist")
    call = bytes.fromhex(said["transactions"][1]["data"][2:])
    peer_key, hpke_key, _bond, _fee = decode_call("GuardianRegistry", call)[1]
    holder = SimpleNamespace(peer_key=peer_key, hpke_key=hpke_key)
    assert holder_text(holder) == (await keeper.get("status"))["key"]


async def test_a_guardian_whose_chain_is_down_sees_itself_and_its_key_all_the_same(node, tmp_path):
    alone = Keeper(tmp_path / "alone", node, endpoint="http://127.0.0.1:9")
    async with trio.open_nursery() as nursery:
        await nursery.start(alone.chain.run)
        said = await alone.get("status")
        nursery.cancel_scope.cancel()
    assert (said["on"], said["registered"], said["key"][:3]) == (False, None, "gk_")
    assert "endpoint" in said["problem"] or "chain" in said["problem"]
