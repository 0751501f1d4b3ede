"""The ticket inside a ``marina:`` link: a release and who is likely to have it. Pure.

E["marina/ticket/1", release_cid, [[peer_key, [multiaddr, …]], …]], docs/protocol/link.md. A ticket
holds no secret and no right; it saves the lookup.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from marina.cid import check_cid
from marina.schema import Bytes32, Bytes36, Size, decode_record, encode_record, record

PROVIDERS_MAX = 8
ADDRESSES_MAX = 4
ADDRESS_BYTES_MAX = 160
TICKET_BYTES_MAX = 2048

Address = Annotated[str, Size(1, ADDRESS_BYTES_MAX)]


@record(None)
@dataclass(frozen=True, slots=True)
class TicketProvider:
    """One provider: its raw Ed25519 key and its addresses as multiaddr text without ``/p2p/``."""

    peer: Bytes32
    addresses: Annotated[tuple[Address, ...], Size(0, ADDRESSES_MAX)]


@record("marina/ticket/1")
@dataclass(frozen=True, slots=True)
class Ticket:
    """A release by the CID of one version, with up to eight providers, best first."""

    release: Bytes36
    providers: Annotated[tuple[TicketProvider, ...], Size(0, PROVIDERS_MAX)]


def encode_ticket(ticket: Ticket) -> bytes:
    """Return the canonical bytes of a ticket; ValueError when they exceed 2 KiB."""
    data = encode_record(ticket)
    if len(data) > TICKET_BYTES_MAX:
        raise ValueError(f"a ticket has at most {TICKET_BYTES_MAX} bytes, not {len(data)}")
    return data


def decode_ticket(data: bytes) -> Ticket:
    """Return the ticket in canonical bytes.

    Raises:
        MalformedError: anything but a ticket within its bounds for a Marina CID.
    """
    ticket = decode_record(Ticket, data, limit_bytes=TICKET_BYTES_MAX, limit_items=128)
    check_cid(ticket.release)
    return ticket
