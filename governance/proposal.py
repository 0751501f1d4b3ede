"""A proposal, and its life as a function of facts and time.

::

    pending ──snapshot──▶ active ──deadline──▶ defeated
       │                                  └──▶ succeeded ──queue──▶ queued ──delay, execute──▶ executed
       └──cancel (proposer, only while pending)──▶ canceled           └──(timelock) cancel──▶ canceled

Times are Unix seconds (ERC-6372 ``mode=timestamp``). A queued proposal of a timelock never expires;
``EXPIRED`` is in the governor's numbering for other executors, and is never the state of ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum

from governance.calls import Call, description_hash, operation_id, proposal_id
from governance.tally import Tally
from marina.ids import Account


class State(IntEnum):
    """Where a proposal is in its life, by the governor's number."""

    PENDING = 0
    ACTIVE = 1
    CANCELED = 2
    DEFEATED = 3
    SUCCEEDED = 4
    QUEUED = 5
    EXPIRED = 6
    EXECUTED = 7

    @property
    def word(self) -> str:
        """The state as people read it."""
        return self.name.lower()

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to the proposal any more."""
        return self in {State.CANCELED, State.DEFEATED, State.EXPIRED, State.EXECUTED}


class Operation(Enum):
    """What the timelock says about the proposal's operation."""

    UNSET = "unset"
    PENDING = "pending"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What was proposed; nothing of it ever changes.

    Attributes:
        calls: made in this order, all or none.
        description_hash: keccak256 of the description.
        proposer: who made it.
        snapshot_s: votes weigh what their accounts held at this time; voting begins right after.
        deadline_s: end of the vote, the extension of a late quorum included as far as it is known.
        description: the text, if it is known; it is in the log, the governor keeps only its hash.
    """

    calls: tuple[Call, ...]
    description_hash: bytes
    proposer: Account
    snapshot_s: int
    deadline_s: int
    description: str | None = None

    def __post_init__(self) -> None:
        if self.description is not None and description_hash(self.description) != self.description_hash:
            raise ValueError("the description is not the one that was proposed")

    @property
    def id(self) -> int:
        """The governor's number of it."""
        return proposal_id(self.calls, self.description_hash)

    def operation_id(self, governor: Account) -> bytes:
        """Return the timelock's 32-byte name of it."""
        return operation_id(self.calls, self.description_hash, governor)


@dataclass(frozen=True, slots=True)
class Facts:
    """All that decides a proposal's state, as the chain has it at one block.

    Attributes:
        snapshot_s: see ``Proposal``.
        deadline_s: end of the vote with every extension so far.
        tally: weights so far.
        quorum: weight needed at the snapshot.
        eta_s: when the timelock lets it be executed; 0 before it is queued.
        is_executed: the governor executed it.
        is_canceled: the governor canceled it.
        operation: what the timelock says; looked at only once it is queued.
    """

    snapshot_s: int
    deadline_s: int
    tally: Tally = field(default_factory=Tally)
    quorum: int = 0
    eta_s: int = 0
    is_executed: bool = False
    is_canceled: bool = False
    operation: Operation = Operation.UNSET


def state_of(facts: Facts, now_s: int) -> State:
    """Return the state that ``MarinaGovernor.state`` gives at a block of this time.

    Source: OpenZeppelin Contracts 5, Governor.state and GovernorTimelockControl.state.
    """
    if facts.is_executed:
        return State.EXECUTED
    if facts.is_canceled:
        return State.CANCELED
    if now_s <= facts.snapshot_s:
        return State.PENDING
    if now_s <= facts.deadline_s:
        return State.ACTIVE
    if not facts.tally.has_quorum(facts.quorum) or not facts.tally.is_carried:
        return State.DEFEATED
    if not facts.eta_s:
        return State.SUCCEEDED
    match facts.operation:
        case Operation.PENDING:
            return State.QUEUED
        case Operation.DONE:
            return State.EXECUTED
        case Operation.UNSET:
            return State.CANCELED


def is_executable(facts: Facts, now_s: int) -> bool:
    """Return whether anybody may execute it now."""
    return state_of(facts, now_s) is State.QUEUED and now_s >= facts.eta_s


def next_change_s(facts: Facts, now_s: int) -> int | None:
    """Return the time at which the state or what may be done changes by itself, None if it does not."""
    match state_of(facts, now_s):
        case State.PENDING:
            return facts.snapshot_s + 1
        case State.ACTIVE:
            return facts.deadline_s + 1
        case State.QUEUED if now_s < facts.eta_s:
            return facts.eta_s
        case _:
            return None
