"""Every parameter that the DAO sets: which function sets it, in what unit, within which bounds.

The contracts enforce some of the bounds; the others are this client's: it does not propose a value
outside them, and warns the voter of one that somebody else proposed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from chain.artifacts import encode_call
from chain.contracts import ContractSet
from governance.calls import Call
from governance.errors import OutOfBoundsError
from governance.units import (
    format_bps,
    format_duration,
    format_mmt,
    format_percent,
    parse_bps,
    parse_duration_s,
    parse_mmt,
    parse_percent,
)
from governance.values import (
    format_account,
    format_digest,
    format_thing,
    parse_account_or_none,
    parse_digest,
    parse_thing,
    parse_token,
)
from marina.errors import MalformedError, UsageError

Value: TypeAlias = int | bytes
_DAY_S = 86_400
_MMT = 10**18


@dataclass(frozen=True, slots=True)
class Unit:
    """How a kind of value is written.

    Attributes:
        parse: text to value; raises UsageError or MalformedError.
        format: value to text.
    """

    parse: Callable[[str], Value]
    format: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One value that the DAO sets.

    Attributes:
        key: what people write: ``fee`` in ``fee=3%``.
        title: what it is, with its article.
        contract: name of the contract that keeps it.
        setter: function that sets it.
        getter: view that reads it.
        unit: how it is written.
        low: least value, None if it is not a number.
        high: greatest value.
        why: reason of the bounds, the end of a sentence.
    """

    key: str
    title: str
    contract: str
    setter: str
    getter: str
    unit: Unit
    low: int | None = None
    high: int | None = None
    why: str = ""

    def is_within(self, value: Value) -> bool:
        """Return whether a value keeps the bounds."""
        if self.low is None or self.high is None:
            return True
        return isinstance(value, int) and self.low <= value <= self.high

    def check(self, value: Value) -> None:
        """Raise OutOfBoundsError unless a value keeps the bounds."""
        if not self.is_within(value):
            raise OutOfBoundsError(
                f"{self.title} cannot be {self.unit.format(value)}: choose {self.range_text()}, {self.why}"
            )

    def range_text(self) -> str:
        """Return the bounds in words; empty without bounds."""
        if self.low is None or self.high is None:
            return ""
        return f"{self.unit.format(self.low)} to {self.unit.format(self.high)}"

    def call(self, value: Value, contracts: ContractSet) -> Call:
        """Return the call that sets it.

        Raises:
            OutOfBoundsError: the value is outside the bounds.
        """
        self.check(value)
        target = contracts.named()[self.contract]
        return Call(target, 0, encode_call(self.contract, self.setter, value))


@dataclass(frozen=True, slots=True)
class Switch:
    """Something that the DAO turns on or off for one thing: a token, a track.

    Attributes:
        on: key that turns it on, as in ``allow-token=0x…``.
        off: key that turns it off.
        on_words: sentence about the thing ``{}`` when it is turned on.
        off_words: the same when it is turned off.
        contract: name of the contract.
        setter: function of (thing, bool).
        parse: text to thing.
        format: thing to text.
    """

    on: str
    off: str
    on_words: str
    off_words: str
    contract: str
    setter: str
    parse: Callable[[str], bytes]
    format: Callable[[bytes], str]

    def call(self, thing: bytes, is_on: bool, contracts: ContractSet) -> Call:
        """Return the call that turns it on or off."""
        target = contracts.named()[self.contract]
        return Call(target, 0, encode_call(self.contract, self.setter, thing, is_on))


_BPS = Unit(parse_bps, format_bps)
_PERCENT = Unit(parse_percent, format_percent)
_TIME = Unit(parse_duration_s, format_duration)
_TOKENS = Unit(parse_mmt, format_mmt)
_ACCOUNT = Unit(parse_account_or_none, format_account)
_DIGEST = Unit(parse_digest, format_digest)

PARAMETERS: tuple[Parameter, ...] = (
    Parameter(
        "fee",
        "the protocol fee",
        "MusicLicensing",
        "setFee",
        "feeBps",
        _BPS,
        0,
        1_000,
        "the contract takes no more for ever",
    ),
    Parameter(
        "pauser", "who may pause purchases for a week", "MusicLicensing", "setPauser", "pauser", _ACCOUNT
    ),
    Parameter(
        "moderation-list",
        "the moderation list",
        "TrackRegistry",
        "setModerationList",
        "moderationList",
        _DIGEST,
    ),
    Parameter(
        "guardian-bond",
        "the least bond of a key guardian",
        "GuardianRegistry",
        "setMinBond",
        "minBond",
        _TOKENS,
        0,
        100_000 * _MMT,
        "more would leave guardianship to very few",
    ),
    Parameter(
        "voting-delay",
        "the time before a vote begins",
        "MarinaGovernor",
        "setVotingDelay",
        "votingDelay",
        _TIME,
        3_600,
        30 * _DAY_S,
        "so that members can gather their votes and proposals still move",
    ),
    Parameter(
        "voting-period",
        "the time that a vote lasts",
        "MarinaGovernor",
        "setVotingPeriod",
        "votingPeriod",
        _TIME,
        _DAY_S,
        60 * _DAY_S,
        "so that everybody can vote and proposals still move",
    ),
    Parameter(
        "threshold",
        "the votes needed to propose",
        "MarinaGovernor",
        "setProposalThreshold",
        "proposalThreshold",
        _TOKENS,
        _MMT,
        50_000 * _MMT,
        "so that proposing is neither free nor a privilege",
    ),
    Parameter(
        "quorum",
        "the quorum",
        "MarinaGovernor",
        "updateQuorumNumerator",
        "quorumNumerator",
        _PERCENT,
        1,
        50,
        "because below it few decide for all, and above it nobody can decide",
    ),
    Parameter(
        "late-quorum",
        "the time to vote after a late quorum",
        "MarinaGovernor",
        "setLateQuorumVoteExtension",
        "lateQuorumVoteExtension",
        _TIME,
        0,
        14 * _DAY_S,
        "so that a vote ends",
    ),
    Parameter(
        "timelock-delay",
        "the time between a vote and its execution",
        "TimelockController",
        "updateDelay",
        "getMinDelay",
        _TIME,
        _DAY_S,
        30 * _DAY_S,
        "so that those who disagree have time to leave",
    ),
)
"""Every single value that the DAO sets."""

SWITCHES: tuple[Switch, ...] = (
    Switch(
        "allow-token",
        "refuse-token",
        "Let licences be sold for the token {}",
        "Stop selling licences for the token {}",
        "MusicLicensing",
        "setToken",
        parse_token,
        format_account,
    ),
    Switch(
        "block",
        "unblock",
        "Stop new sales of {}",
        "Allow sales of {} again",
        "TrackRegistry",
        "setBlocked",
        parse_thing,
        format_thing,
    ),
)
"""Everything that the DAO turns on or off for one thing."""


def parameter(key: str) -> Parameter:
    """Return the parameter of a key; UsageError for any other."""
    for each in PARAMETERS:
        if each.key == key:
            return each
    raise UsageError(f"the DAO sets no {key[:40]!r}: choose one of {', '.join(keys())}")


def keys() -> list[str]:
    """Return every word that may stand before the ``=`` of a change."""
    return [each.key for each in PARAMETERS] + [key for each in SWITCHES for key in (each.on, each.off)]


def parameter_of_setter(contract: str, function: str) -> Parameter | None:
    """Return the parameter that a function of a contract sets, None if it sets none."""
    return next((each for each in PARAMETERS if (each.contract, each.setter) == (contract, function)), None)


def switch_of_setter(contract: str, function: str) -> Switch | None:
    """Return the switch that a function of a contract turns, None if it turns none."""
    return next((each for each in SWITCHES if (each.contract, each.setter) == (contract, function)), None)


def parse_change(text: str, contracts: ContractSet) -> Call:
    """Return the call of a change that a person wrote: ``fee=3%``, ``allow-token=0x…``, ``block=tr_…``.

    Raises:
        UsageError: no such parameter, or no such value.
        OutOfBoundsError: the value is outside the parameter's bounds.
    """
    key, equals, raw = text.partition("=")
    key, raw = key.strip().lower(), raw.strip()
    if not equals or not raw:
        raise UsageError(f"{text[:60]!r} is no change: write NAME=VALUE, like fee=3%")
    try:
        for switch in SWITCHES:
            if key in {switch.on, switch.off}:
                return switch.call(switch.parse(raw), key == switch.on, contracts)
        found = parameter(key)
        return found.call(found.unit.parse(raw), contracts)
    except MalformedError as err:
        raise UsageError(f"{key}: {err}") from err
