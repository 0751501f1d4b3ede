"""Proposals, votes and delegation: their rows, and what the token's and the governor's events mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from chain.events import Event
from chain.index.rows import Handler, Units, amount, changing, cut_text, key, marking, place, putting, units
from chain.index.store import Change
from marina.schema import U8, U64, Bytes20, Bytes32, Size, record

PROPOSALS = "proposal"
PROPOSALS_AT = "proposal-at"
VOTES = "vote"
VOTES_BY = "vote-by"
DELEGATIONS = "delegation"
VOTING_POWER = "voting-power"
CALLS_MAX = 64
CALLDATA_BYTES_MAX = 48 * 1024
DESCRIPTION_BYTES_MAX = 64 * 1024
REASON_BYTES_MAX = 1024
_AGAINST, _FOR, _ABSTAIN = 0, 1, 2
_UINT64_MAX = 2**64 - 1


@record(None)
@dataclass(frozen=True, slots=True)
class ProposedCall:
    """One call that a proposal makes."""

    target: Bytes20
    value: Units
    data: Annotated[bytes, Size(0, CALLDATA_BYTES_MAX)]


@record("marina/chain/proposal/1")
@dataclass(frozen=True, slots=True)
class ProposalRow:
    """One proposal and what has become of it.

    Attributes:
        proposal_id: the governor's number, 32 bytes.
        proposer: who made it.
        calls: what it does; empty if there is too much of it to keep (``is_cut``).
        description: its text, cut at 64 KiB; invalid UTF-8 is replaced.
        is_cut: the calls or the description are not whole: read them from the chain.
        vote_start_s: voting begins behind this Unix second.
        vote_end_s: last second of the vote, extensions included.
        against: weight, base units of votes.
        for_: weight.
        abstain: weight.
        queued_eta_s: when it can be executed; 0 before it is queued.
        is_executed: it was.
        is_canceled: it was.
        block: last block that changed it.
        created_s: time of its first block.
    """

    proposal_id: Bytes32
    proposer: Bytes20
    calls: Annotated[tuple[ProposedCall, ...], Size(0, CALLS_MAX)]
    description: Annotated[str, Size(0, DESCRIPTION_BYTES_MAX)]
    is_cut: bool
    vote_start_s: U64
    vote_end_s: U64
    against: Units
    for_: Units
    abstain: Units
    queued_eta_s: U64
    is_executed: bool
    is_canceled: bool
    block: U64
    created_s: U64


@record("marina/chain/vote/1")
@dataclass(frozen=True, slots=True)
class VoteRow:
    """One account's vote.

    Attributes:
        proposal_id: on what.
        voter: whose.
        support: 0 against, 1 for, 2 abstain.
        weight: base units of votes.
        reason: what the voter wrote, cut at 1 KiB.
        block: where it is.
        cast_s: time of that block.
    """

    proposal_id: Bytes32
    voter: Bytes20
    support: U8
    weight: Units
    reason: Annotated[str, Size(0, REASON_BYTES_MAX)]
    block: U64
    cast_s: U64


@record("marina/chain/delegation/1")
@dataclass(frozen=True, slots=True)
class DelegationRow:
    """To whom an account gave its votes; the zero account means nobody."""

    account: Bytes20
    delegate: Bytes20
    block: U64


@record("marina/chain/votes-of/1")
@dataclass(frozen=True, slots=True)
class VotingPowerRow:
    """How many votes a delegate has now."""

    delegate: Bytes20
    votes: Units
    block: U64


def _proposed(event: Event, time_s: int) -> Sequence[Change]:
    """``ProposalCreated``: the proposal, found by its number and by its proposer."""
    said = event.values
    calls = tuple(
        ProposedCall(target, units(value), data)
        for target, value, data in zip(said["targets"], said["values"], said["calldatas"], strict=False)
    )
    is_whole = len(calls) <= CALLS_MAX and sum(len(each.data) for each in calls) <= CALLDATA_BYTES_MAX
    description = cut_text(said["description"], DESCRIPTION_BYTES_MAX)
    row = ProposalRow(
        proposal_id=said["proposalId"].to_bytes(32),
        proposer=said["proposer"],
        calls=calls if is_whole else (),
        description=description,
        is_cut=not is_whole or description != said["description"],
        vote_start_s=min(said["voteStart"], _UINT64_MAX),
        vote_end_s=min(said["voteEnd"], _UINT64_MAX),
        against=b"",
        for_=b"",
        abstain=b"",
        queued_eta_s=0,
        is_executed=False,
        is_canceled=False,
        block=event.log.block,
        created_s=time_s,
    )
    return [
        putting(key(PROPOSALS, row.proposal_id), row),
        marking(key(PROPOSALS_AT, place(event.log.block, event.log.index)), row.proposal_id),
    ]


def _voted(event: Event, time_s: int) -> Sequence[Change]:
    """``VoteCast`` and ``VoteCastWithParams``: the vote, and its weight in the proposal's tally."""
    said = event.values
    number = said["proposalId"].to_bytes(32)
    row = VoteRow(
        proposal_id=number,
        voter=said["voter"],
        support=said["support"],
        weight=units(said["weight"]),
        reason=cut_text(said["reason"], REASON_BYTES_MAX),
        block=event.log.block,
        cast_s=time_s,
    )

    def count(proposal: ProposalRow) -> ProposalRow:
        weight, block = said["weight"], event.log.block
        if row.support == _AGAINST:
            return replace(proposal, against=units(amount(proposal.against) + weight), block=block)
        if row.support == _FOR:
            return replace(proposal, for_=units(amount(proposal.for_) + weight), block=block)
        if row.support == _ABSTAIN:
            return replace(proposal, abstain=units(amount(proposal.abstain) + weight), block=block)
        return proposal

    return [
        putting(key(VOTES, number, row.voter), row),
        marking(key(VOTES_BY, row.voter, number)),
        changing(ProposalRow, key(PROPOSALS, number), count),
    ]


def _extended(event: Event, _: int) -> Sequence[Change]:
    """``ProposalExtended``: a late quorum gave the others more time."""
    end_s, block = event.values["extendedDeadline"], event.log.block
    return [_of_proposal(event, lambda row: replace(row, vote_end_s=end_s, block=block))]


def _queued(event: Event, _: int) -> Sequence[Change]:
    """``ProposalQueued``: it waits in the timelock."""
    eta_s, block = min(event.values["etaSeconds"], _UINT64_MAX), event.log.block
    return [_of_proposal(event, lambda row: replace(row, queued_eta_s=eta_s, block=block))]


def _executed(event: Event, _: int) -> Sequence[Change]:
    """``ProposalExecuted``."""
    block = event.log.block
    return [_of_proposal(event, lambda row: replace(row, is_executed=True, block=block))]


def _canceled(event: Event, _: int) -> Sequence[Change]:
    """``ProposalCanceled``."""
    block = event.log.block
    return [_of_proposal(event, lambda row: replace(row, is_canceled=True, block=block))]


def _delegated(event: Event, _: int) -> Sequence[Change]:
    """``DelegateChanged``: an account's votes go to another delegate."""
    row = DelegationRow(event.values["delegator"], event.values["toDelegate"], event.log.block)
    return [putting(key(DELEGATIONS, row.account), row)]


def _power_changed(event: Event, _: int) -> Sequence[Change]:
    """``DelegateVotesChanged``: a delegate has another number of votes."""
    row = VotingPowerRow(event.values["delegate"], units(event.values["newVotes"]), event.log.block)
    return [putting(key(VOTING_POWER, row.delegate), row)]


def _of_proposal(event: Event, change: Callable[[ProposalRow], ProposalRow]) -> Change:
    return changing(ProposalRow, key(PROPOSALS, event.values["proposalId"].to_bytes(32)), change)


HANDLERS: dict[tuple[str, str], Handler] = {
    ("MarinaGovernor", "ProposalCreated"): _proposed,
    ("MarinaGovernor", "ProposalExtended"): _extended,
    ("MarinaGovernor", "ProposalQueued"): _queued,
    ("MarinaGovernor", "ProposalExecuted"): _executed,
    ("MarinaGovernor", "ProposalCanceled"): _canceled,
    ("MarinaGovernor", "VoteCast"): _voted,
    ("MarinaGovernor", "VoteCastWithParams"): _voted,
    ("MarinaToken", "DelegateChanged"): _delegated,
    ("MarinaToken", "DelegateVotesChanged"): _power_changed,
}
