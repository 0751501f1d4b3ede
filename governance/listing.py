"""A proposal at one moment, and the names by which people ask for one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from governance.description import Description, parse_description
from governance.proposal import Proposal, State
from governance.tally import Tally
from marina.errors import UsageError

NUMBER_MAX = 10**9
"""Below it a name is a proposal's place in the list; ids are hashes and never so small."""
_NAME = re.compile(r"#?([0-9]{1,78})|0x([0-9a-fA-F]{1,64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ProposalView:
    """A proposal at one moment.

    Attributes:
        number: its place among all proposals, from 1; 0 if it was asked for by its id.
        proposal: what was proposed.
        state: as the governor says.
        tally: votes so far.
        quorum: weight that it needs; 0 while it is pending, as the snapshot lies ahead.
        eta_s: when it may be executed; 0 before it is queued.
        now_s: block time of the reading.
    """

    number: int
    proposal: Proposal
    state: State
    tally: Tally
    quorum: int
    eta_s: int
    now_s: int

    @property
    def id(self) -> int:
        """The governor's number of it."""
        return self.proposal.id

    @property
    def description(self) -> Description | None:
        """Its text in clean parts, None if the text is not known."""
        raw = self.proposal.description
        return None if raw is None else parse_description(raw)

    @property
    def is_executable(self) -> bool:
        """Whether anybody may execute it now."""
        return self.state is State.QUEUED and self.now_s >= self.eta_s


def parse_name(text: str) -> int:
    """Return the number or the id that a proposal's name holds; UsageError if it is no name."""
    found = _NAME.fullmatch(text.strip())
    value = 0
    if found is not None:
        value = int(found[1]) if found[1] else int(found[2], 16)
    if not 0 < value < 1 << 256:
        raise UsageError(f"{text[:80]!r} is no proposal: give its number, like 3, or its whole id")
    return value
