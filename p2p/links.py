"""``marina:`` links: what one person sends another to hear a release.

``marina:`` + base32 of the ticket, and for one track ``#`` + its ``tr_…`` id behind that. Letter case
does not matter in the base32 part, so links survive systems that change it. A link can be turned into
a QR code for a terminal. See docs/protocol/link.md.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import segno

from marina.cid import Cid
from marina.errors import MalformedError
from marina.ids import PeerId, TrackId, base32, from_base32, parse_track, track_text
from p2p import addresses
from p2p.peerkey import key_of_peer, peer_of_key
from p2p.wire.ticket import (
    ADDRESSES_MAX,
    PROVIDERS_MAX,
    TICKET_BYTES_MAX,
    Ticket,
    TicketProvider,
    decode_ticket,
    encode_ticket,
)

SCHEME = "marina:"
LINK_CHARS_MAX = len(SCHEME) + (TICKET_BYTES_MAX * 8 + 4) // 5 + 64
QR_CHARS_MAX = 1200
"""A larger code has more rows than a terminal; such a link is shared as text."""


@dataclass(frozen=True, slots=True)
class LinkProvider:
    """Somebody who is likely to have the release.

    Attributes:
        peer: peer id.
        addresses: TCP multiaddresses ending in ``/p2p/<peer>``.
    """

    peer: PeerId
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says.

    Attributes:
        release: CID of the release manifest.
        providers: at most eight, best first.
        track: the track meant; None for the whole release.
    """

    release: Cid
    providers: tuple[LinkProvider, ...] = ()
    track: TrackId | None = None


def make_link(release: Cid, providers: Iterable[LinkProvider] = (), *, track: TrackId | None = None) -> str:
    """Return the link text.

    Takes the first eight providers and four addresses of each; addresses that are no TCP
    multiaddress are left out, so that a link never carries what its reader would refuse.

    Raises:
        MalformedError: a provider's peer id is none of an Ed25519 device.
    """
    entries = [_entry(each) for each in list(providers)[:PROVIDERS_MAX]]
    while True:
        try:
            data = encode_ticket(Ticket(release, tuple(entries)))
            break
        except ValueError:
            if not entries:
                raise
            entries.pop()  # the last is the least likely to help
    fragment = f"#{track_text(track)}" if track is not None else ""
    return SCHEME + base32(data) + fragment


def parse_link(text: str) -> Link:
    """Return what a link says.

    Raises:
        MalformedError: it is no link, damaged, or longer than links are; the message says which.
    """
    text = text.strip()
    if len(text) > LINK_CHARS_MAX:
        raise MalformedError(f"the link is too long ({len(text)} characters): copy only the link itself")
    if not text.lower().startswith(SCHEME):
        raise MalformedError(f"{text[:40]!r} is not a Marina link: a link starts with {SCHEME!r}")
    body, hash_sign, fragment = text[len(SCHEME) :].partition("#")
    try:
        ticket = decode_ticket(from_base32(body.lower()))
        track = parse_track(fragment.lower()) if hash_sign else None
        providers = tuple(_provider(each) for each in ticket.providers)
    except MalformedError as err:
        raise MalformedError(
            f"the link is damaged or cut short: copy it again from where it was shared ({err})"
        ) from err
    return Link(Cid(ticket.release), providers, track)


def is_link(text: str) -> bool:
    """Return whether a text means to be a link with a ticket, damaged or not."""
    body = text.strip().lower()
    return body.startswith(SCHEME) and not body.startswith((f"{SCHEME}tr_", f"{SCHEME}rl_"))


def qr_text(link: str) -> str:
    """Return a QR code of a link as lines of half blocks for a terminal.

    Raises:
        ValueError: the link is longer than a code that fits a terminal can hold.
    """
    if len(link) > QR_CHARS_MAX:
        raise ValueError("the link is too long for a QR code on a terminal: share its text")
    out = io.StringIO()
    segno.make(link, error="l", micro=False, boost_error=False).terminal(out=out, border=2, compact=True)
    return out.getvalue()


def _entry(provider: LinkProvider) -> TicketProvider:
    texts: list[str] = []
    for each in provider.addresses:
        try:
            parts = addresses.parse(each)
        except MalformedError:
            continue
        if parts.port:
            texts.append(f"/{parts.kind}/{parts.host}/tcp/{parts.port}")
    return TicketProvider(key_of_peer(provider.peer), tuple(dict.fromkeys(texts))[:ADDRESSES_MAX])


def _provider(entry: TicketProvider) -> LinkProvider:
    peer = peer_of_key(entry.peer)
    return LinkProvider(peer, tuple(addresses.with_peer(each, peer) for each in entry.addresses))
