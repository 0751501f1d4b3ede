"""Votes counted: weights, quorum, and the extension that a late quorum gives.

Source: OpenZeppelin Contracts 5: GovernorCountingSimple, GovernorVotesQuorumFraction and
GovernorPreventLateQuorum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

QUORUM_DENOMINATOR = 100


class Support(IntEnum):
    """What a vote says, by the number that the governor stores."""

    AGAINST = 0
    FOR = 1
    ABSTAIN = 2


@dataclass(frozen=True, slots=True)
class Tally:
    """Weights in base units of MMT, each voter's power at the proposal's snapshot."""

    against: int = 0
    in_favour: int = 0
    abstained: int = 0

    @property
    def total(self) -> int:
        """All weight that voted."""
        return self.against + self.in_favour + self.abstained

    @property
    def is_carried(self) -> bool:
        """Whether more weight is for it than against; a tie is not carried."""
        return self.in_favour > self.against

    def has_quorum(self, quorum: int) -> bool:
        """Return whether weight for and abstained reach the quorum; weight against does not count."""
        return self.in_favour + self.abstained >= quorum

    def missing(self, quorum: int) -> int:
        """Return the weight still missing for the quorum, 0 when it is reached."""
        return max(0, quorum - self.in_favour - self.abstained)

    def with_vote(self, support: Support, weight: int) -> Tally:
        """Return the tally after one more vote."""
        if weight < 0:
            raise ValueError("a vote has no negative weight")
        match support:
            case Support.AGAINST:
                return replace(self, against=self.against + weight)
            case Support.FOR:
                return replace(self, in_favour=self.in_favour + weight)
            case Support.ABSTAIN:
                return replace(self, abstained=self.abstained + weight)


def quorum_of(past_supply: int, numerator: int) -> int:
    """Return the weight that a proposal needs: a percentage of the supply at its snapshot, rounded down."""
    if not 0 <= numerator <= QUORUM_DENOMINATOR:
        raise ValueError(f"a quorum is 0 to {QUORUM_DENOMINATOR} percent")
    return past_supply * numerator // QUORUM_DENOMINATOR


def extended_deadline_s(reached_at_s: int, extension_s: int, deadline_s: int) -> int:
    """Return when voting ends once the quorum was reached.

    Args:
        reached_at_s: block time of the vote that reached it.
        extension_s: how long everybody has at least after that.
        deadline_s: end of the vote without it.
    """
    return max(deadline_s, reached_at_s + extension_s)
