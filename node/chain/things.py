"""From what a person typed to what a contract knows: ids, titles, amounts, terms and splits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from chain.amount import parse_amount
from chain.market.offers import DOWNLOAD, STREAM
from chain.market.selling import NewTerm, SplitPart, Thing, check_splits
from marina.errors import UsageError
from marina.ids import Account, TrackId, release_text, track_text
from node.chain.service import Chain, ChainService
from node.library import Library, Target

_PART = re.compile(r"([^=\s]{1,80})=([0-9]{1,3}(?:\.[0-9]{1,2})?)%", re.ASCII)
_PERIOD = re.compile(r"([1-9][0-9]{0,4})(d|w|y|h)", re.ASCII)
_UNIT_S = {"h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
_KINDS = {"stream": STREAM, "download": DOWNLOAD}


@dataclass(frozen=True, slots=True)
class Named:
    """A track or release, as people and as contracts call it.

    Attributes:
        id: 32 bytes.
        text: ``tr_…`` or ``rl_…``.
        title: for people.
        target: its manifests.
    """

    id: bytes
    text: str
    title: str
    target: Target


async def named(library: Library, typed: str) -> Named:
    """Return what a person meant: a whole id, the beginning of one, or a link.

    Raises:
        NotFoundError, UsageError: as ``Library.resolve`` says.
    """
    target = await library.resolve(typed)
    if target.track is not None:
        number: bytes = target.track.track_id
        return Named(number, track_text(TrackId(number)), target.track.title, target)
    release = target.signed.release
    return Named(release.release_id, release_text(release.release_id), release.title, target)


async def title_of(library: Library, number: bytes) -> tuple[str, str]:
    """Return (text id, title) of something on the chain, also where the node does not know it."""
    return await library.title(number) or (track_text(TrackId(number)), "an unknown track or release")


def things_of(thing: Named, *, with_tracks: bool) -> list[Thing]:
    """Return what is registered: a track alone, or a release and its tracks."""
    release = thing.target.signed.release
    whole = Thing(release.release_id, release.salt, _digest(thing.target.signed.block), None, release.title)
    chosen = thing.target.meant
    tracks = [
        Thing(each.track_id, each.salt, cid[-32:], release.release_id, each.title)
        for cid, each in thing.target.tracks
        if each in chosen
    ]
    if thing.target.track is not None:
        return tracks
    return [whole, *tracks] if with_tracks else [whole]


async def parse_splits(
    texts: Sequence[str], owner: Account, chain: ChainService, names: dict[str, Account] | None = None
) -> tuple[SplitPart, ...]:
    """Return the splits of ``ACCOUNT=10%`` texts; the rest is the owner's.

    Raises:
        UsageError: a text is none of these, or they do not fit together.
        NotFoundError, NetworkError: as ``typed_account`` says, which also fills ``names``.
    """
    from node.api.routes_wallet import typed_account

    parts: list[SplitPart] = []
    for text in texts:
        match = _PART.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"{text[:90]!r} is no split: write it like 0x5290…=10% or NAME=12.5%")
        whole, _, cents = match[2].partition(".")
        account = await typed_account(match[1], chain, names)
        parts.append(SplitPart(account, int(whole) * 100 + int(cents.ljust(2, "0"))))
    return check_splits(parts, owner)


def parse_period_s(text: str) -> int:
    """Return the seconds of ``30d``, ``1y``; 0 for ``forever``.

    Raises:
        UsageError: it is neither.
    """
    if text in {"forever", "perpetual", "0"}:
        return 0
    match = _PERIOD.fullmatch(text)
    if match is None:
        raise UsageError(f"{text[:20]!r} is no period: write 30d, 12w, 1y, or forever")
    return int(match[1]) * _UNIT_S[match[2]]


async def parse_term(chain: Chain, price: str, *, period: str, kind: str) -> NewTerm:
    """Return the term of a price, a period and a kind; UsageError for anything that is none."""
    if kind not in _KINDS:
        raise UsageError(f"{kind[:20]!r} is no kind of licence: choose stream or download")
    amount = parse_amount(price, await chain.currencies.all(), is_zero_allowed=True)
    return NewTerm(amount, parse_period_s(period), _KINDS[kind])


def _digest(block: bytes) -> bytes:
    return hashlib.sha256(block).digest()
