"""What the events of the token and the governor mean for the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from chain.events import Event
from chain.index_store import Change
from chain.rows import (
    CALLDATA_BYTES_MAX,
    CALLS_MAX,
    DELEGATIONS,
    DESCRIPTION_BYTES_MAX,
    PROPOSALS,
    REASON_BYTES_MAX,
    VOTES,
    VOTES_BY,
    VOTING_POWER,
    DelegationRow,
    ProposalRow,
    ProposedCall,
    VoteRow,
    VotingPowerRow,
    amount,
    key,
    read,
    units,
)
from marina.schema import encode_record

_AGAINST, _FOR, _ABSTAIN = 0, 1, 2
_UINT64_MAX = 2**64 - 1


def proposed(event: Event, time_s: int) -> Sequence[Change]:
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
    return [(key(PROPOSALS, row.proposal_id), lambda _: encode_record(row))]


def voted(event: Event, time_s: int) -> Sequence[Change]:
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
        (key(VOTES, number, row.voter), lambda _: encode_record(row)),
        (key(VOTES_BY, row.voter, number), lambda _: b""),
        _proposal_change(number, count),
    ]


def extended(event: Event, _: int) -> Sequence[Change]:
    """``ProposalExtended``: a late quorum gave the others more time."""
    end_s, block = event.values["extendedDeadline"], event.log.block
    return [_of_proposal(event, lambda row: replace(row, vote_end_s=end_s, block=block))]


def queued(event: Event, _: int) -> Sequence[Change]:
    """``ProposalQueued``: it waits in the timelock."""
    eta_s, block = min(event.values["etaSeconds"], _UINT64_MAX), event.log.block
    return [_of_proposal(event, lambda row: replace(row, queued_eta_s=eta_s, block=block))]


def executed(event: Event, _: int) -> Sequence[Change]:
    """``ProposalExecuted``."""
    block = event.log.block
    return [_of_proposal(event, lambda row: replace(row, is_executed=True, block=block))]


def canceled(event: Event, _: int) -> Sequence[Change]:
    """``ProposalCanceled``."""
    block = event.log.block
    return [_of_proposal(event, lambda row: replace(row, is_canceled=True, block=block))]


def delegated(event: Event, _: int) -> Sequence[Change]:
    """``DelegateChanged``: an account's votes go to another delegate."""
    row = DelegationRow(event.values["delegator"], event.values["toDelegate"], event.log.block)
    return [(key(DELEGATIONS, row.account), lambda _: encode_record(row))]


def power_changed(event: Event, _: int) -> Sequence[Change]:
    """``DelegateVotesChanged``: a delegate has another number of votes."""
    row = VotingPowerRow(event.values["delegate"], units(event.values["newVotes"]), event.log.block)
    return [(key(VOTING_POWER, row.delegate), lambda _: encode_record(row))]


def cut_text(text: str, bytes_max: int) -> str:
    """Return the longest beginning of a text that fits, in whole characters."""
    return text.encode()[:bytes_max].decode(errors="ignore")


def _of_proposal(event: Event, change: Callable[[ProposalRow], ProposalRow]) -> Change:
    return _proposal_change(event.values["proposalId"].to_bytes(32), change)


def _proposal_change(number: bytes, change: Callable[[ProposalRow], ProposalRow]) -> Change:
    def update(data: bytes | None) -> bytes | None:
        return None if data is None else encode_record(change(read(ProposalRow, data)))

    return key(PROPOSALS, number), update


HANDLERS: dict[tuple[str, str], Callable[[Event, int], Sequence[Change]]] = {
    ("MarinaGovernor", "ProposalCreated"): proposed,
    ("MarinaGovernor", "ProposalExtended"): extended,
    ("MarinaGovernor", "ProposalQueued"): queued,
    ("MarinaGovernor", "ProposalExecuted"): executed,
    ("MarinaGovernor", "ProposalCanceled"): canceled,
    ("MarinaGovernor", "VoteCast"): voted,
    ("MarinaGovernor", "VoteCastWithParams"): voted,
    ("MarinaToken", "DelegateChanged"): delegated,
    ("MarinaToken", "DelegateVotesChanged"): power_changed,
}
