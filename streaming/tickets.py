"""Tickets: the part of a stream address that stands for a token, because players send no headers.

``base64url(HMAC-SHA256(key, session ‖ expiry))`` over one session, which is one track at one quality.
Five minutes to start with; once a player has read from it, the address keeps working until the player
has been silent for ten minutes, so that a song can be paused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from marina.secret import Secret
from streaming.errors import TicketError

TICKET_S = 300
_MAC_BYTES = 32
_SESSION_BYTES = 16
_EXPIRY_BYTES = 8
_TICKET_CHARS = 75


def issue_ticket(key: Secret[bytes], session: bytes, now_s: int) -> str:
    """Return the ticket of a 16-byte session id, URL-safe."""
    body = session + (now_s + TICKET_S).to_bytes(_EXPIRY_BYTES)
    return base64.urlsafe_b64encode(body + _mac(key, body)).decode().rstrip("=")


def open_ticket(key: Secret[bytes], ticket: str, *, now_s: int, is_alive: bool) -> None:
    """Check a ticket.

    Args:
        key: the node's ticket key.
        ticket: as issued.
        now_s: Unix time.
        is_alive: a player read from the session within the last ten minutes, so the expiry is waived.

    Raises:
        TicketError: forged or too old.
    """
    raw = _decode(ticket)
    body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(key, body)):
        raise TicketError("this stream address is not valid: ask the node for a new one")
    if now_s > int.from_bytes(body[_SESSION_BYTES:]) and not is_alive:
        raise TicketError("this stream address is too old: ask the node for a new one")


def session_of(ticket: str) -> bytes:
    """Return the session id that a ticket names, unchecked; TicketError if it is no ticket."""
    return _decode(ticket)[:_SESSION_BYTES]


def _decode(ticket: str) -> bytes:
    try:
        raw = base64.b64decode(ticket + "=" * (-len(ticket) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as err:
        raise TicketError("this stream address is not valid: ask the node for a new one") from err
    if len(ticket) != _TICKET_CHARS or len(raw) != _SESSION_BYTES + _EXPIRY_BYTES + _MAC_BYTES:
        raise TicketError("this stream address is not valid: ask the node for a new one")
    return raw


def _mac(key: Secret[bytes], body: bytes) -> bytes:
    return hmac.digest(key.reveal(), b"marina/stream-ticket\x00" + body, hashlib.sha256)
