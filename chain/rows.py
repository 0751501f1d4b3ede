"""The rows of the index: one record for each thing that the contracts know, and where it is kept.

A key is the name of a table, a zero byte, and fixed-length parts, so that a prefix finds what belongs
together and key order is a useful order. Amounts have up to 256 bits, more than a message's integers:
they are kept as big-endian bytes and read through the ``…_units`` properties. Every row names the block
that wrote it last, from which its confirmations follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from chain.index_store import ROW_BYTES_MAX, ROW_ITEMS_MAX
from marina.schema import (
    U8,
    U64,
    Bytes20,
    Bytes32,
    R,
    Size,
    decode_record,
    record,
)

Units = Annotated[bytes, Size(0, 32)]
"""An amount in base units, big-endian without leading zeros."""
FOREVER_S = 2**64 - 1
"""``expires_at`` of a perpetual licence."""
SPLITS_MAX = 32
CALLS_MAX = 64
CALLDATA_BYTES_MAX = 48 * 1024
DESCRIPTION_BYTES_MAX = 64 * 1024
REASON_BYTES_MAX = 1024


def units(value: int) -> bytes:
    """Return an amount as its shortest big-endian bytes; nothing is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8)


def amount(raw: bytes) -> int:
    """Return the amount of ``units``."""
    return int.from_bytes(raw)


def key(table: str, *parts: bytes) -> bytes:
    """Return the key of a row, or with fewer parts a prefix of keys."""
    return b"\x00".join((table.encode(), b"".join(parts)))


def place(block: int, index: int) -> bytes:
    """Return a key part that orders by time: block, then place in the block."""
    return block.to_bytes(8) + index.to_bytes(4)


def read(cls: type[R], data: bytes) -> R:
    """Return the record of a row; MalformedError if it is none."""
    return decode_record(cls, data, limit_bytes=ROW_BYTES_MAX, limit_items=ROW_ITEMS_MAX)


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


PROPOSALS = "proposal"
VOTES = "vote"
VOTES_BY = "vote-by"
DELEGATIONS = "delegation"
VOTING_POWER = "voting-power"
