"""Proposals from the delegation to the execution, on the embedded chain and, if it is there, on anvil."""

from dataclasses import replace

import pytest

from chain.amount import Amount
from chain.artifacts import encode_call
from chain.events import EventDecoder, parse_log
from governance.actions import Actions
from governance.calls import columns
from governance.delegation import VoteHistory
from governance.description import make_description, text_block
from governance.errors import NotEnoughVotesError, UnknownProposalError, WrongStateError
from governance.history import block_time_s
from governance.parameters import parse_change
from governance.proposal import Facts, Operation, State, state_of
from governance.tally import Support, Tally, extended_deadline_s, quorum_of
from governance.treasury import grant
from marina.errors import UsageError
from marina.ids import Account, account_text
from tests.support.dao import COIN, World, dao_on_anvil, dao_on_devchain, make_devchain

DAY_S = 86_400
MMT = 10**18
ALL = 1_000_000 * MMT


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dao") / "template"
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


def actions_of(world: World) -> Actions:
    return Actions(world.dao, chain_id=31337)


async def delegated(world: World) -> Actions:
    actions = actions_of(world)
    me = world.holder.account
    await world.act(world.holder, await actions.delegate(me, me))
    await world.travel(2)
    return actions


async def proposed(world: World, actions: Actions, *changes: str, title: str = "A change") -> int:
    calls = [parse_change(each, world.dao.contracts) for each in changes]
    description = make_description(title, proposer=world.holder.account)
    await world.act(world.holder, await actions.propose(world.holder.account, description, calls))
    return await world.dao.count()


async def voted(world: World, actions: Actions, number: int, support: Support = Support.FOR) -> None:
    """Vote right after the snapshot and go to the end of the vote."""
    view = await world.dao.proposal(number)
    await world.reach(view.proposal.snapshot_s + 1)
    await world.act(world.holder, await actions.vote(world.holder.account, number, support))
    await world.reach((await world.dao.proposal(number)).proposal.deadline_s + 1)


async def queued(world: World, actions: Actions, number: int) -> None:
    await world.act(world.holder, await actions.queue(world.holder.account, number))


async def check_state(world: World, number: int) -> State:
    """Compare the pure state with the governor's, fact by fact, and return it."""
    view = await world.dao.proposal(number)
    operation = view.proposal.operation_id(world.dao.contracts.governor)
    is_pending = await world.reader.read("TimelockController", "isOperationPending", operation)
    is_done = await world.reader.read("TimelockController", "isOperationDone", operation)
    facts = Facts(
        snapshot_s=view.proposal.snapshot_s,
        deadline_s=view.proposal.deadline_s,
        tally=view.tally,
        quorum=view.quorum,
        eta_s=view.eta_s,
        is_canceled=view.state is State.CANCELED,
        operation=Operation.PENDING if is_pending else Operation.DONE if is_done else Operation.UNSET,
    )
    assert state_of(facts, view.now_s) is view.state
    return view.state


async def test_a_fee_is_changed_by_a_proposal_and_by_nothing_else(any_world):
    world = any_world
    dao, me = world.dao, world.holder.account
    idle = await dao.standing(me)
    assert idle.is_idle
    actions = await delegated(world)
    assert (await dao.standing(me)).votes == ALL

    calls = [parse_change("fee=5%", dao.contracts)]
    text, _ = text_block("Artists need it because …")
    description = make_description("Raise the fee", summary="For the servers.", text=text, proposer=me)
    draft = await actions.propose(me, description, calls)
    assert "Set the protocol fee to 5 % (now 2.5 %)" in draft.summary
    effect = await dao.effect(calls)
    assert [(each.title, each.before, each.after) for each in effect.changes] == [
        ("the protocol fee", "2.5 %", "5 %")
    ]
    await world.act(world.holder, draft)
    with pytest.raises(UsageError, match="made before"):
        await actions.propose(me, description, calls)

    (view,) = await dao.proposals()
    assert (view.number, view.state, view.proposal.proposer) == (1, State.PENDING, me)
    assert view.description == description
    assert view.proposal == (await dao.proposal(hex(view.id))).proposal
    with pytest.raises(WrongStateError, match="begins in"):
        await actions.vote(me, 1, Support.FOR)
    await world.reach(view.proposal.snapshot_s)
    assert await check_state(world, 1) is State.PENDING
    await world.reach(view.proposal.snapshot_s + 1)
    assert await check_state(world, 1) is State.ACTIVE
    with pytest.raises(NotEnoughVotesError, match="had no votes"):
        await actions.vote(world.stranger.account, 1, Support.FOR)

    await world.act(world.holder, await actions.vote(me, 1, Support.FOR, "It is fair."))
    with pytest.raises(WrongStateError, match="votes are final"):
        await actions.vote(me, 1, Support.AGAINST)
    with pytest.raises(WrongStateError, match="is active"):
        await actions.queue(me, 1)
    await world.reach(view.proposal.deadline_s)
    assert await check_state(world, 1) is State.ACTIVE
    await world.reach(view.proposal.deadline_s + 1)
    assert await check_state(world, 1) is State.SUCCEEDED
    voted_view = await dao.proposal("#1")
    assert voted_view.tally == Tally(in_favour=ALL)
    assert voted_view.quorum == quorum_of(ALL, 4)

    await world.act(world.stranger, await actions.queue(world.stranger.account, 1))
    assert await check_state(world, 1) is State.QUEUED
    with pytest.raises(WrongStateError, match="timelock holds proposal 1 “Raise the fee” for another"):
        await actions.execute(me, 1)
    await world.travel(2 * DAY_S)
    assert (await dao.parameters())["fee"] == 250
    await world.act(world.stranger, await actions.execute(world.stranger.account, 1))
    assert (await dao.proposal(1)).state is State.EXECUTED
    assert (await dao.parameters())["fee"] == 500


async def test_a_proposal_without_quorum_or_with_more_against_is_defeated(world):
    actions = await delegated(world)
    first = await proposed(world, actions, "fee=5%")
    second = await proposed(world, actions, "fee=6%", title="Another")
    last = (await world.dao.proposal(second)).proposal
    await world.reach(last.snapshot_s + 1)
    await world.act(world.holder, await actions.vote(world.holder.account, second, Support.AGAINST))
    await world.reach((await world.dao.proposal(second)).proposal.deadline_s + 1)
    assert await check_state(world, first) is State.DEFEATED
    assert await check_state(world, second) is State.DEFEATED
    with pytest.raises(WrongStateError, match="is defeated: only a proposal that is succeeded can be queued"):
        await actions.queue(world.holder.account, second)
    with pytest.raises(WrongStateError, match="is over"):
        await actions.vote(world.holder.account, first, Support.FOR)


async def test_only_the_proposer_cancels_and_only_before_the_vote(world):
    actions = await delegated(world)
    first = await proposed(world, actions, "fee=5%")
    with pytest.raises(WrongStateError, match="who proposed it"):
        await actions.cancel(world.stranger.account, first)
    await world.act(world.holder, await actions.cancel(world.holder.account, first))
    assert await check_state(world, first) is State.CANCELED
    second = await proposed(world, actions, "fee=6%", title="Another")
    await world.reach((await world.dao.proposal(second)).proposal.snapshot_s + 1)
    with pytest.raises(WrongStateError, match="is active"):
        await actions.cancel(world.holder.account, second)


async def test_a_queued_proposal_does_not_expire(world):
    actions = await delegated(world)
    number = await proposed(world, actions, "timelock-delay=3 days")
    await voted(world, actions, number)
    await queued(world, actions, number)
    await world.travel(3 * 365 * DAY_S)
    assert await check_state(world, number) is State.QUEUED
    await world.act(world.stranger, await actions.execute(world.stranger.account, number))
    assert (await world.dao.parameters())["timelock-delay"] == 3 * DAY_S


async def test_a_late_quorum_extends_the_vote(world):
    actions = await delegated(world)
    number = await proposed(world, actions, "quorum=10%")
    before = (await world.dao.proposal(number)).proposal
    await world.reach(before.deadline_s - 10)
    receipt = await world.act(world.holder, await actions.vote(world.holder.account, number, Support.ABSTAIN))
    block = await world.rpc.call("eth_getBlockByNumber", [receipt["blockNumber"], False])
    after = (await world.dao.proposal(number)).proposal
    assert after.deadline_s == extended_deadline_s(int(block["timestamp"], 16), DAY_S, before.deadline_s)
    assert after.deadline_s > before.deadline_s
    await world.reach(before.deadline_s + 1)
    assert await check_state(world, number) is State.ACTIVE
    await world.reach(after.deadline_s + 1)
    assert await check_state(world, number) is State.DEFEATED


async def test_somebody_without_coins_votes_and_delegates_by_signature(world):
    dao, me, other = world.dao, world.holder.account, world.stranger
    actions = actions_of(world)
    signed = await actions.delegation(me, me)
    signature = world.holder.sign_digest(signed.digest)
    await world.act(other, actions.send_delegation(other.account, signed, signature))
    await world.travel(2)
    assert (await dao.standing(me)).votes == ALL
    for number in (1, 2):
        assert await proposed(world, actions, f"fee={number}%", title=f"Fee {number}") == number
    await world.reach((await dao.proposal(2)).proposal.snapshot_s + 1)
    for number, reason in ((1, ""), (2, "Because.")):
        ballot, digest = await actions.ballot(me, number, Support.FOR, reason)
        forged = replace(ballot, support=Support.AGAINST)
        with pytest.raises(Exception, match="the vote is not signed by"):
            await world.act(
                other, await actions.send_ballot(other.account, forged, world.holder.sign_digest(digest))
            )
        await world.act(
            other, await actions.send_ballot(other.account, ballot, world.holder.sign_digest(digest))
        )
        assert (await dao.proposal(number)).tally == Tally(in_favour=ALL)
    with pytest.raises(UsageError, match="65 bytes"):
        await actions.send_ballot(other.account, ballot, b"short")


async def test_who_has_too_few_votes_cannot_propose_and_learns_what_to_do(world):
    actions = actions_of(world)
    calls = [parse_change("fee=5%", world.dao.contracts)]
    with pytest.raises(NotEnoughVotesError, match=r"needs 1000 MMT of votes .* has 0 MMT: ask holders"):
        await actions.propose(world.holder.account, make_description("Mine"), calls)
    theirs = make_description("Mine", proposer=world.stranger.account)
    with pytest.raises(UsageError, match="lets only"):
        await actions.propose(world.holder.account, theirs, calls)
    await delegated(world)
    with pytest.raises(UsageError, match="nothing to do"):
        await actions.delegate(world.holder.account, world.holder.account)


async def test_names_that_fit_no_proposal_are_told_so(world):
    for name in ("1", "0x" + "ab" * 32):
        with pytest.raises(UnknownProposalError, match="marina dao list"):
            await world.dao.proposal(name)
    for name in ("one", "0", "-1", "1_0", "0x", "9" * 80):
        with pytest.raises(UsageError, match="no proposal"):
            await world.dao.proposal(name)
    assert await world.dao.proposals() == ()


async def test_a_grant_leaves_the_treasury_and_stands_in_the_history(world):
    actions = await delegated(world)
    dao, artist = world.dao, Account(b"\x42" * 20)
    await world.send(world.holder, dao.contracts.timelock, value=5 * MMT)
    assert [each.sentence() for each in await dao.treasury()] == ["5 DEV", "0 MMT"]
    call = grant(artist, Amount(2 * MMT, COIN), dao.contracts)
    description = make_description("A grant")
    await world.act(world.holder, await actions.propose(world.holder.account, description, [call]))
    await voted(world, actions, 1)
    await queued(world, actions, 1)
    await world.travel(2 * DAY_S)
    await world.act(world.stranger, await actions.execute(world.stranger.account, 1))
    assert int(await world.rpc.call("eth_getBalance", ["0x" + artist.hex(), "latest"]), 16) == 2 * MMT
    assert [each.sentence() for each in await dao.treasury()] == ["3 DEV", "0 MMT"]
    (paid,) = await dao.payments(first_block=0)
    assert (paid.to, paid.token, paid.units) == (artist, None, 2 * MMT)
    view = await dao.proposal(1)
    assert paid.operation == view.proposal.operation_id(dao.contracts.governor)


async def test_a_description_that_is_no_text_hides_neither_the_proposal_nor_its_calls(world):
    await delegated(world)
    call = parse_change("fee=5%", world.dao.contracts)
    data = encode_call("MarinaGovernor", "propose", *columns([call]), "x" * 32)
    await world.send(world.holder, world.dao.contracts.governor, data.replace(b"x" * 32, b"\xff" * 32))
    view = await world.dao.proposal(1)
    assert view.description is None
    assert view.proposal.calls == (call,)
    assert (await world.dao.words(view.proposal.calls))[0].text == "Set the protocol fee to 5 % (now 2.5 %)"


async def test_votes_replayed_from_the_log_are_those_of_the_token(world):
    actions = await delegated(world)
    token, me = world.dao.contracts.token, world.holder.account
    for units in (3 * MMT, 5 * MMT):
        await world.send(
            world.holder, token, encode_call("MarinaToken", "transfer", bytes(world.stranger.account), units)
        )
        await world.travel(10)
    await world.act(world.stranger, await actions.delegate(world.stranger.account, me))
    await world.travel(10)
    history = VoteHistory()
    raw = await world.rpc.call(
        "eth_getLogs", [{"address": account_text(token), "fromBlock": "0x0", "toBlock": "latest"}]
    )
    decoder = EventDecoder({"MarinaToken": token})
    for log in raw:
        event = decoder.decode(parse_log(log))
        if event is not None and event.name == "DelegateVotesChanged":
            assert event.values["delegate"] == me
            history.add(await block_time_s(world.rpc, event.log.block), event.values["newVotes"])
    now_s = await world.dao.now_s()
    for time_s in range(now_s - 40, now_s):
        assert history.past_votes(time_s) == await world.dao.past_votes(me, time_s)
    assert history.past_votes(now_s) == ALL
