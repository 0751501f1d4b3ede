"""Messages of /marina/pledge/1.0.0: offers, asks and pledges of operators. Pure.

Offers, asks and pledges are signed by a device and travel with the binding that lets this device speak
for its account: ``Vouched`` = E[E[body, signature], binding]. The rest are plain frame headers on a
connection whose peer is proven. See docs/protocol/pledge.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Protocol, TypeVar

from marina.errors import MalformedError
from marina.ids import Account
from marina.schema import (
    U64,
    Bytes16,
    Bytes20,
    Bytes32,
    Bytes36,
    Range,
    Size,
    decode_record,
    encode_record,
    record,
)
from marina.signing import Signer, open_record, sign_record

PROTOCOL = "/marina/pledge/1.0.0"
VOUCHED_BYTES_MAX = 1536
BINDING_BYTES_MAX = 512
HEADER_BYTES_MAX = 2048
RELEASE_BYTES_MAX = 1 << 40
"""1 TiB: no single release is larger; a bound for sums."""

CheckBinding = Callable[[bytes, bytes], Account]
"""(binding bytes, raw device key) → the account it may act for now; raises MarinaError if none."""


class Kind(IntEnum):
    """What a request wants."""

    OFFER = 0
    """The operator's current offer."""
    ASK = 1
    """A pledge for a release; the payload is a vouched ``Ask``."""
    STATUS = 2
    """How far the operator is with a release that it pledged."""


class Answer(IntEnum):
    """How a request was answered."""

    OK = 0
    NOT_OFFERED = 1
    """This node pledges nothing to anybody."""
    NO_SPACE = 2
    POLICY = 3
    """Too large, too long, or too many pledges for this artist already."""
    DENIED = 4
    """The operator's denylist names it."""
    UNKNOWN = 5
    """There is no pledge for this release."""
    BUSY = 6
    """Too many requests; ask again later."""
    NOT_YOURS = 7
    """The binding does not let this device act for that account."""


class Progress(IntEnum):
    """How far an operator is with a pledge."""

    PLEDGED = 0
    FETCHING = 1
    COMPLETE = 2
    FAILED = 3


@record("marina/offer/1")
@dataclass(frozen=True, slots=True)
class Offer:
    """An operator's free space and policy.

    Attributes:
        account: who answers for it.
        peer: raw device key.
        free_bytes: space that pledges may still take.
        release_bytes_max: largest release it takes.
        pledge_s_max: longest pledge in seconds.
        issued: Unix seconds.
        expires: Unix seconds; later it means nothing.
    """

    account: Bytes20
    peer: Bytes32
    free_bytes: U64
    release_bytes_max: U64
    pledge_s_max: U64
    issued: U64
    expires: U64


@record("marina/ask/1")
@dataclass(frozen=True, slots=True)
class Ask:
    """An artist asks an operator to keep a release of ``bytes`` until a time."""

    account: Bytes20
    peer: Bytes32
    operator: Bytes32
    release_cid: Bytes36
    bytes: U64
    until: U64
    nonce: Bytes16


@record("marina/pledge/1")
@dataclass(frozen=True, slots=True)
class Pledge:
    """An operator's promise to keep and serve a release until a time; ``nonce`` repeats the ask's."""

    account: Bytes20
    peer: Bytes32
    release_cid: Bytes36
    bytes: U64
    until: U64
    nonce: Bytes16


@record(None)
@dataclass(frozen=True, slots=True)
class Vouched:
    """A signed record with the binding of the device that signed it."""

    envelope: Annotated[bytes, Size(1, 960)]
    binding: Annotated[bytes, Size(0, BINDING_BYTES_MAX)]


@record(None)
@dataclass(frozen=True, slots=True)
class PledgeRequest:
    """Header of a request; ``length`` payload bytes (a vouched ask) follow exactly for ASK."""

    kind: Annotated[int, Range(min(Kind), max(Kind))]
    release_cid: Annotated[bytes, Size(0, 36)]
    length: Annotated[int, Range(0, VOUCHED_BYTES_MAX)]


@record(None)
@dataclass(frozen=True, slots=True)
class PledgeReply:
    """Header of a reply; ``length`` payload bytes (a vouched offer or pledge) follow.

    Attributes:
        answer: how the request was answered.
        progress: for STATUS, else 0.
        have_bytes: for STATUS, bytes of the release that are stored and verified.
        length: payload bytes.
    """

    answer: Annotated[int, Range(min(Answer), max(Answer))]
    progress: Annotated[int, Range(min(Progress), max(Progress))]
    have_bytes: U64
    length: Annotated[int, Range(0, VOUCHED_BYTES_MAX)]


class Signed(Protocol):
    """What every vouched record has."""

    @property
    def account(self) -> bytes:
        """The account that it speaks for."""
        ...

    @property
    def peer(self) -> bytes:
        """The raw key of the device that signed."""
        ...


S = TypeVar("S", bound=Signed)


def vouch(item: Signed, signer: Signer, binding: bytes) -> bytes:
    """Return the vouched bytes of a record whose ``peer`` is the signer's key."""
    return encode_record(Vouched(sign_record(signer, item), binding))


def open_vouched(cls: type[S], data: bytes, check_binding: CheckBinding) -> S:
    """Return the record in vouched bytes after checking signature and binding.

    Raises:
        MalformedError: not canonical, another record, a bad signature, or the binding is another
            account's.
        MarinaError: what ``check_binding`` raises: expired, revoked, without the scope.
    """
    vouched = decode_record(Vouched, data, limit_bytes=VOUCHED_BYTES_MAX, limit_items=16)
    item = open_record(cls, vouched.envelope, "peer")
    if check_binding(vouched.binding, item.peer) != item.account:
        raise MalformedError("the record speaks for another account than its binding")
    return item


def decode_request(data: bytes) -> PledgeRequest:
    """Return the request in a header; MalformedError for anything else."""
    request = decode_record(PledgeRequest, data, limit_bytes=128, limit_items=8)
    if (request.kind == Kind.ASK) != (request.length > 0):
        raise MalformedError("exactly an ask carries a payload")
    if (request.kind == Kind.STATUS) != (len(request.release_cid) == 36):
        raise MalformedError("exactly a status query names a release")
    return request


def decode_reply(data: bytes) -> PledgeReply:
    """Return the reply in a header; MalformedError for anything else."""
    return decode_record(PledgeReply, data, limit_bytes=128, limit_items=8)
