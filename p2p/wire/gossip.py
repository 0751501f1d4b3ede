"""Records that travel by gossip, and the topics they travel on. Pure.

``/marina/release/1`` carries announcements of new release versions, ``/marina/artist/1/<account>``
those of one artist together with ``have`` records of peers that hold them, ``/marina/offer/1`` the
offers of operators. A message is one record; its length is at most 64 KiB. See docs/protocol/gossip.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from marina.cid import check_cid
from marina.errors import MarinaError
from marina.ids import Account
from marina.schema import U64, Bytes20, Bytes32, Bytes36, Size, record
from marina.signing import Signer, open_record, sign_record
from p2p.wire.pledge import CheckBinding, open_vouched, vouch
from p2p.wire.ticket import ADDRESSES_MAX, Address

TOPIC_RELEASES = "/marina/release/1"
TOPIC_OFFERS = "/marina/offer/1"
TOPIC_ARTIST_PREFIX = "/marina/artist/1/"
MESSAGE_BYTES_MAX = 64 * 1024
HAVE_ROOTS_MAX = 64
FUTURE_S_MAX = 300
"""How far a sender's clock may be ahead."""
AGE_S_MAX = 24 * 3600
"""A record older than this is news to nobody."""


class OutOfTimeError(MarinaError):
    """A record from the future or older than a day: clocks differ, so it is nobody's fault."""

    code = "out_of_time"


def artist_topic(account: Account) -> str:
    """Return the topic of one artist."""
    return TOPIC_ARTIST_PREFIX + account.hex()


@record("marina/announce/1")
@dataclass(frozen=True, slots=True)
class Announcement:
    """A device of an artist says: this is the newest version of a release.

    Attributes:
        account: the artist; the release manifest itself is signed by it.
        peer: raw key of the device that signs this record.
        release_id: stable id.
        release_cid: this version.
        version: number of this version.
        time: Unix seconds.
        addresses: where this device listens, TCP multiaddresses without ``/p2p/``.
    """

    account: Bytes20
    peer: Bytes32
    release_id: Bytes32
    release_cid: Bytes36
    version: U64
    time: U64
    addresses: Annotated[tuple[Address, ...], Size(0, ADDRESSES_MAX)]


@record("marina/have/1")
@dataclass(frozen=True, slots=True)
class Have:
    """A device says that it holds and serves these roots."""

    peer: Bytes32
    roots: Annotated[tuple[Bytes36, ...], Size(1, HAVE_ROOTS_MAX)]
    time: U64
    addresses: Annotated[tuple[Address, ...], Size(0, ADDRESSES_MAX)]


def seal_announcement(item: Announcement, signer: Signer, binding: bytes) -> bytes:
    """Return the message of an announcement, with the binding of the device."""
    return vouch(item, signer, binding)


def open_announcement(data: bytes, *, check_binding: CheckBinding, now_s: int) -> Announcement:
    """Return the announcement in a message.

    Raises:
        MalformedError: not one, badly signed, or another account's.
        OutOfTimeError: from the future or older than a day.
        MarinaError: what ``check_binding`` raises.
    """
    item = open_vouched(Announcement, data, check_binding)
    check_cid(item.release_cid)
    check_time(item.time, now_s)
    return item


def seal_have(item: Have, signer: Signer) -> bytes:
    """Return the message of a have record."""
    return sign_record(signer, item)


def open_have(data: bytes, *, now_s: int) -> Have:
    """Return the have record in a message.

    Raises:
        MalformedError: not one, or not signed by its peer.
        OutOfTimeError: from the future or older than a day.
    """
    item = open_record(Have, data, "peer")
    for root in item.roots:
        check_cid(root)
    check_time(item.time, now_s)
    return item


def check_time(time_s: int, now_s: int) -> None:
    """Raise OutOfTimeError for a record from the future or older than a day."""
    if time_s > now_s + FUTURE_S_MAX or time_s + AGE_S_MAX < now_s:
        raise OutOfTimeError("the record's time is too far from now")
