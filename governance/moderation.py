"""The DAO's moderation list: what a majority asks operators not to serve, and why.

The list is one block, signed by nobody: the DAO adopts it by setting its sha2-256 digest in
``TrackRegistry.moderationList``, so whoever sends the block can neither add nor leave out a line. It
advises; an operator follows it only after turning that on, and always keeps the denylist of its own.

The bytes are canonical (sorted, unique, one encoding), so the same entries have one digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated

from governance.errors import WrongListError
from governance.text import clean_line, is_clean
from marina.cid import CID_BYTES, RAW, Cid, check_cid, cid_from_digest, cid_text, parse_cid
from marina.errors import MalformedError, UsageError
from marina.ids import ReleaseId, TrackId, parse_release, parse_track, release_text, track_text
from marina.schema import Bytes32, Range, Size, decode_record, encode_record, record
from p2p.wire.block import BLOCK_BYTES_MAX

LIST_BYTES_MAX = BLOCK_BYTES_MAX
"""One block, as peers send it: room for 10,000 entries with reasons of a few words."""
ENTRIES_MAX = 10_000
REASON_BYTES_MAX = 160
_VALUES_PER_ENTRY = 4
_ID_BYTES = 32


class Kind:
    """What an entry names, by the number in the block."""

    RELEASE = 1
    TRACK = 2
    CID = 3


@record(None)
@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that should not be served.

    Attributes:
        kind: a ``Kind``.
        thing: 32 bytes of an id, or 36 of a CID.
        reason: one clean line for the people who ask.
    """

    kind: Annotated[int, Range(1, 3)]
    thing: Annotated[bytes, Size(_ID_BYTES, CID_BYTES)]
    reason: Annotated[str, Size(1, REASON_BYTES_MAX)]

    def __str__(self) -> str:
        """The entry as text: id and reason."""
        if self.kind == Kind.RELEASE:
            name = release_text(ReleaseId(self.thing))
        elif self.kind == Kind.TRACK:
            name = track_text(TrackId(self.thing))
        else:
            name = cid_text(Cid(self.thing))
        return f"{name}  {self.reason}"


@record("marina/moderation/1")
@dataclass(frozen=True, slots=True)
class ModerationList:
    """A whole list.

    Attributes:
        previous: digest of the list that this one replaces, zero for the first: the history can be read.
        entries: sorted by kind and thing, each thing once.
    """

    previous: Bytes32
    entries: Annotated[tuple[Entry, ...], Size(0, ENTRIES_MAX)]


@dataclass(frozen=True, slots=True)
class DeniedIds:
    """Things that a node does not serve, by kind."""

    releases: frozenset[ReleaseId] = field(default_factory=frozenset)
    tracks: frozenset[TrackId] = field(default_factory=frozenset)
    cids: frozenset[Cid] = field(default_factory=frozenset)

    def __or__(self, other: DeniedIds) -> DeniedIds:
        """Everything that either denies."""
        return DeniedIds(self.releases | other.releases, self.tracks | other.tracks, self.cids | other.cids)


def make_entry(name: str, reason: str) -> Entry:
    """Return the entry of a release (``rl_…``), a track (``tr_…``) or a CID.

    Raises:
        UsageError: the name is none of these, or the reason is empty, too long or not one clean line.
    """
    reason = reason.strip()
    if not reason or len(reason.encode()) > REASON_BYTES_MAX or not _is_line(reason):
        raise UsageError(
            f"an entry needs a reason of one line, at most {REASON_BYTES_MAX} bytes: {clean_line(reason)!r}"
        )
    bare = name.strip().removeprefix("marina:")
    try:
        if bare.startswith("rl_"):
            return Entry(Kind.RELEASE, bytes(parse_release(bare)), reason)
        if bare.startswith("tr_"):
            return Entry(Kind.TRACK, bytes(parse_track(bare)), reason)
        return Entry(Kind.CID, bytes(parse_cid(bare)), reason)
    except MalformedError as err:
        raise UsageError(f"{bare[:80]!r} is neither a release (rl_…), a track (tr_…) nor a CID") from err


def parse_entries(text: str) -> tuple[Entry, ...]:
    """Return the entries of a text: a name a line and its reason behind it; lines with ``#`` are remarks.

    Raises:
        UsageError: a line is no entry; the message says which.
    """
    entries: list[Entry] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        words = raw.split(maxsplit=1)
        if not words or words[0].startswith("#"):
            continue
        reason = words[1].removeprefix("#") if len(words) > 1 else ""
        if len(entries) == ENTRIES_MAX:
            raise UsageError(
                f"a moderation list has at most {ENTRIES_MAX} entries: line {number} is one more"
            )
        try:
            entries.append(make_entry(words[0], reason))
        except UsageError as err:
            raise UsageError(f"line {number}: {err}") from err
    return tuple(entries)


def make_list(entries: Iterable[Entry], *, previous: bytes = bytes(32)) -> ModerationList:
    """Return a list of these entries in canonical order.

    Raises:
        UsageError: a thing is named twice, or there are more than 10,000 entries.
    """
    ordered = tuple(sorted(entries, key=_place))
    for one, two in pairwise(ordered):
        if _place(one) == _place(two):
            raise UsageError(f"the list names {two} twice: keep one")
    if len(ordered) > ENTRIES_MAX:
        raise UsageError(f"a moderation list has at most {ENTRIES_MAX} entries, not {len(ordered)}")
    return ModerationList(previous, ordered)


def encode_list(moderation_list: ModerationList) -> tuple[bytes, bytes]:
    """Return (digest, block) of a list: the digest is what the DAO adopts.

    Raises:
        UsageError: the block would be larger than 512 KiB: shorten the reasons.
    """
    data = encode_record(moderation_list)
    if len(data) > LIST_BYTES_MAX:
        raise UsageError(f"the list has {len(data)} bytes, at most {LIST_BYTES_MAX} fit: shorten the reasons")
    return hashlib.sha256(data).digest(), data


def list_cid(digest: bytes) -> Cid:
    """Return under which CID nodes find the block of an adopted list."""
    return cid_from_digest(digest, RAW)


def decode_list(data: bytes, adopted: bytes) -> ModerationList:
    """Return the adopted list of a block that somebody sent.

    Args:
        data: the block.
        adopted: ``TrackRegistry.moderationList()``.

    Raises:
        WrongListError: the block is not the adopted one.
        MalformedError: the DAO adopted something that is no moderation list.
    """
    if len(data) > LIST_BYTES_MAX:
        raise MalformedError(f"a moderation list has at most {LIST_BYTES_MAX} bytes")
    if hashlib.sha256(data).digest() != adopted:
        raise WrongListError("this is not the moderation list that the DAO adopted: ask another node for it")
    limit_items = _VALUES_PER_ENTRY * ENTRIES_MAX + 8
    found = decode_record(ModerationList, data, limit_bytes=LIST_BYTES_MAX, limit_items=limit_items)
    for entry in found.entries:
        _check_entry(entry)
    if any(_place(one) >= _place(two) for one, two in pairwise(found.entries)):
        raise MalformedError("the moderation list is not sorted, or names something twice")
    return found


def denied_ids(moderation_list: ModerationList) -> DeniedIds:
    """Return what a list denies, by kind."""
    things: dict[int, set[bytes]] = {kind: set() for kind in (Kind.RELEASE, Kind.TRACK, Kind.CID)}
    for entry in moderation_list.entries:
        things[entry.kind].add(entry.thing)
    return DeniedIds(
        frozenset(ReleaseId(each) for each in things[Kind.RELEASE]),
        frozenset(TrackId(each) for each in things[Kind.TRACK]),
        frozenset(Cid(each) for each in things[Kind.CID]),
    )


def merge_denied(own: DeniedIds, adopted: ModerationList | None, *, is_followed: bool) -> DeniedIds:
    """Return what an operator denies.

    Args:
        own: of the operator's own list, in force whatever the DAO says.
        adopted: the DAO's list; None if there is none or it was not fetched yet.
        is_followed: whether the operator turned following the DAO on.
    """
    return own | denied_ids(adopted) if adopted is not None and is_followed else own


def reason_of(moderation_list: ModerationList, thing: bytes) -> str | None:
    """Return why a list names an id or a CID, None if it does not."""
    return next((each.reason for each in moderation_list.entries if each.thing == thing), None)


def difference(
    before: ModerationList | None, after: ModerationList
) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Return the entries that a new list adds and those that it takes away."""
    old = {_place(each): each for each in before.entries} if before is not None else {}
    new = {_place(each): each for each in after.entries}
    added = tuple(each for place, each in new.items() if place not in old)
    removed = tuple(each for place, each in old.items() if place not in new)
    return added, removed


def _place(entry: Entry) -> tuple[int, bytes]:
    return int(entry.kind), entry.thing


def _check_entry(entry: Entry) -> None:
    if entry.kind == Kind.CID:
        check_cid(entry.thing)
    elif len(entry.thing) != _ID_BYTES:
        raise MalformedError("an id of the moderation list has not 32 bytes")
    if not _is_line(entry.reason):
        raise MalformedError("a reason of the moderation list is not one clean line")


def _is_line(text: str) -> bool:
    return is_clean(text) and text == clean_line(text, chars_max=len(text))
