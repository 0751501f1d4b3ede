"""The calls that a proposal makes when it is executed, and the proposal's id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eth_hash.auto import keccak

from chain.amount import UINT256_MAX
from chain.artifacts import encode_call
from marina.errors import UsageError
from marina.ids import Account

CALLS_MAX = 64
"""Most calls that this client proposes at once; what others propose may have more."""
DATA_BYTES_MAX = 24 * 1024
"""Most call data of one proposal; GovernorStorage stores every word of it at 20,000 gas or more."""
SELECTOR_BYTES = 4


@dataclass(frozen=True, slots=True)
class Call:
    """One call that the timelock makes.

    Attributes:
        target: called contract, or the account that is paid.
        value: base units of the chain's coin that go along.
        data: selector and arguments; empty for a plain payment.
    """

    target: Account
    value: int
    data: bytes

    def __post_init__(self) -> None:
        if len(self.target) != 20 or not 0 <= self.value <= UINT256_MAX:
            raise ValueError("a call has a 20-byte target and a value of 256 bits")

    @property
    def selector(self) -> bytes:
        """The first four bytes of the data; fewer if there are fewer."""
        return self.data[:SELECTOR_BYTES]


def check_proposable(calls: Sequence[Call]) -> None:
    """Raise UsageError unless the calls fit one proposal of this client."""
    if not calls:
        raise UsageError("a proposal needs at least one call: say what it changes or pays")
    if len(calls) > CALLS_MAX:
        raise UsageError(
            f"a proposal has at most {CALLS_MAX} calls, not {len(calls)}: make several proposals"
        )
    size_bytes = sum(len(each.data) for each in calls)
    if size_bytes > DATA_BYTES_MAX:
        raise UsageError(
            f"the calls hold {size_bytes} bytes of data, at most {DATA_BYTES_MAX} fit a block: "
            "make several proposals"
        )


def columns(calls: Sequence[Call]) -> tuple[list[bytes], list[int], list[bytes]]:
    """Return targets, values and call data, as the governor and the timelock take them."""
    return (
        [bytes(each.target) for each in calls],
        [each.value for each in calls],
        [each.data for each in calls],
    )


def description_hash(description: str) -> bytes:
    """Return the 32 bytes that stand for a description inside the governor."""
    return bytes(keccak(description.encode()))


def proposal_id(calls: Sequence[Call], hashed_description: bytes) -> int:
    """Return the id that the governor gives a proposal.

    It is ``keccak256(abi.encode(targets, values, calldatas, descriptionHash))``: the same calls under the
    same description are the same proposal, whoever makes it.

    Source: OpenZeppelin Contracts 5, Governor.hashProposal.
    """
    encoded = encode_call("MarinaGovernor", "hashProposal", *columns(calls), hashed_description)
    return int.from_bytes(keccak(encoded[SELECTOR_BYTES:]))


def operation_id(calls: Sequence[Call], hashed_description: bytes, governor: Account) -> bytes:
    """Return the id under which the timelock holds a queued proposal.

    Source: OpenZeppelin Contracts 5, GovernorTimelockControl._timelockSalt and
    TimelockController.hashOperationBatch.
    """
    salt = bytes(a ^ b for a, b in zip(bytes(governor) + bytes(12), hashed_description, strict=True))
    encoded = encode_call("TimelockController", "hashOperationBatch", *columns(calls), bytes(32), salt)
    return bytes(keccak(encoded[SELECTOR_BYTES:]))
