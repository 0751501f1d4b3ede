"""Messages of /marina/key/1.0.0 (docs/protocol/key-release.md): key requests, statuses, answers; pure.

One request a stream, each message in a frame of its own. ::

    request        E[body(bin), signature(64), keybox(bin) | nil]     signature of the asking device
    status request E[body(bin), keybox(bin) | nil]
    grant          E[0, body(bin), signature(64)]                     signatures of the guardian
    refusal        E[1, code, retry_after_s, guardian_time]
    status         E[2, body(bin), signature(64)]

Signatures are Ed25519 over ``tag ‖ 0x00 ‖ body``. Source: design, security §1.6.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Final

from marina.cid import RAW, Cid, cid_of
from marina.codec import decode, encode
from marina.errors import MalformedError
from marina.schema import (
    U8,
    U16,
    U64,
    Bytes16,
    Bytes20,
    Bytes32,
    Range,
    Size,
    decode_record,
    encode_record,
    from_value,
    record,
)
from marina.signing import Signer, verify

PROTOCOL: Final = "/marina/key/1.0.0"
FRAME_BYTES_MAX: Final = 16 * 1024
KEYBOX_BYTES_MAX: Final = 15 * 1024
_GRANT, _REFUSAL, _STATUS = range(3)
_TAG_REQUEST = "marina/kr/1"
_TAG_GRANT = "marina/kr-ok/1"
_TAG_STATUS_REQUEST = "marina/ks/1"
_TAG_STATUS = "marina/ks-ok/1"


class Code(IntEnum):
    """Why a guardian refuses."""

    MALFORMED = 1
    UNSUPPORTED = 2
    CLOCK = 3
    WRONG_PEER = 4
    WRONG_AUDIENCE = 5
    SIGNATURE = 6
    BINDING = 7
    NO_LICENCE = 8
    NOT_FINAL = 9
    KEYBOX_MISMATCH = 10
    NOT_MY_SHARE = 11
    RATE = 12
    DEVICE_CAP = 13
    CHAIN_UNAVAILABLE = 14
    TRACK_BLOCKED = 15


@record(_TAG_REQUEST)
@dataclass(frozen=True, slots=True)
class KeyRequest:
    """A device asks for the key, or a share of it, of one tier of one track.

    Attributes:
        chain_id: EIP-155 id.
        registry: address of the TrackRegistry.
        track_id: the track.
        tier: 1 stream, 2 original.
        owner: account that has the licence.
        binding: the device's binding to that account, encoded.
        peer: the device's Ed25519 key.
        eph: X25519 key for this one answer.
        aud: Ed25519 key of who is asked.
        ts: Unix seconds.
        nonce: random.
        keybox_digest: sha256 of the keybox.
        lic_block: newest block at which the device saw the licence.
    """

    chain_id: U64
    registry: Bytes20
    track_id: Bytes32
    tier: U8
    owner: Bytes20
    binding: Annotated[bytes, Size(1, 512)]
    peer: Bytes32
    eph: Bytes32
    aud: Bytes32
    ts: U64
    nonce: Bytes16
    keybox_digest: Bytes32
    lic_block: U64


@record(_TAG_STATUS_REQUEST)
@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Asks whether a guardian would release its share of a keybox, or just how it is.

    Attributes:
        aud: Ed25519 key of who is asked.
        nonce: random; the answer repeats it.
        chain_id: EIP-155 id.
        registry: address of the TrackRegistry.
        keybox_digest: sha256 of the keybox that goes with it; zero without one.
    """

    aud: Bytes32
    nonce: Bytes16
    chain_id: U64
    registry: Bytes20
    keybox_digest: Bytes32


@record(_TAG_GRANT)
@dataclass(frozen=True, slots=True)
class GrantBody:
    """A share, sealed to the request's one-time key.

    Attributes:
        x: number of the share; 0 for a delegate's whole key.
        ct: HPKE envelope.
        block: number of the block that was read.
        block_hash: of that block.
        request_digest: sha256 of the request's body.
        guardian_time: Unix seconds.
        lease_until: Unix second up to which an honest client plays without asking the chain again.
    """

    x: Annotated[int, Range(0, 32)]
    ct: Annotated[bytes, Size(1, 2048)]
    block: U64
    block_hash: Bytes32
    request_digest: Bytes32
    guardian_time: U64
    lease_until: U64


@record(_TAG_STATUS)
@dataclass(frozen=True, slots=True)
class StatusBody:
    """How a guardian is; nothing secret.

    Attributes:
        peer: its Ed25519 key.
        account: whose guardian it is.
        hpke_key: X25519 key that it opens shares with.
        code: 0 for ready, else the refusal that a request with a good licence would get now.
        block: newest block that it has read; 0 for none.
        guardian_time: Unix seconds.
        nonce: of the request.
        binding: its device's binding to the account, encoded.
    """

    peer: Bytes32
    account: Bytes20
    hpke_key: Bytes32
    code: Annotated[int, Range(0, max(Code))]
    block: U64
    guardian_time: U64
    nonce: Bytes16
    binding: Annotated[bytes, Size(1, 512)]


@record(None)
@dataclass(frozen=True, slots=True)
class _Refusal:
    kind: Annotated[int, Range(_REFUSAL, _REFUSAL)]
    code: Annotated[int, Range(min(Code), max(Code))]
    retry_after_s: U16
    guardian_time: U64


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A decoded key request whose signature is not checked yet.

    Attributes:
        body: what is asked.
        body_bytes: what was signed.
        signature: of the device.
        keybox: the keybox's block, None if it did not come along.
    """

    body: KeyRequest
    body_bytes: bytes
    signature: bytes
    keybox: bytes | None

    @property
    def digest(self) -> bytes:
        """sha256 of the body, to which the answer is bound."""
        return hashlib.sha256(self.body_bytes).digest()

    def check(self) -> None:
        """Check the signature of the device that the request names; MalformedError if it does not fit."""
        verify(self.body.peer, self.signature, _signed(_TAG_REQUEST, self.body_bytes))


@dataclass(frozen=True, slots=True)
class Asked:
    """A decoded status request, with the keybox that came along."""

    body: StatusRequest
    keybox: bytes | None


@dataclass(frozen=True, slots=True)
class Grant:
    """A decoded grant; ``check`` it before use."""

    body: GrantBody
    body_bytes: bytes
    signature: bytes

    def check(self, peer_key: bytes) -> None:
        """Check that a guardian signed it; MalformedError if not."""
        verify(peer_key, self.signature, _signed(_TAG_GRANT, self.body_bytes))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A guardian's no; it is not signed.

    Attributes:
        code: why.
        retry_after_s: when to ask again; 0 for as soon as the reason is gone.
        guardian_time: Unix seconds.
    """

    code: Code
    retry_after_s: int
    guardian_time: int


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """A decoded status; ``check`` it before use."""

    body: StatusBody
    body_bytes: bytes
    signature: bytes

    def check(self, peer_key: bytes) -> None:
        """Check that a guardian signed it; MalformedError if not."""
        verify(peer_key, self.signature, _signed(_TAG_STATUS, self.body_bytes))


def encode_request(body: KeyRequest, signer: Signer, keybox: bytes | None) -> bytes:
    """Return a signed key request."""
    data = encode_record(body)
    return encode([data, signer.sign(_signed(_TAG_REQUEST, data)), keybox])


def request_digest(body: KeyRequest) -> bytes:
    """Return the sha256 of a request's body, to which its answer is bound."""
    return hashlib.sha256(encode_record(body)).digest()


def encode_status_request(body: StatusRequest, keybox: bytes | None) -> bytes:
    """Return a status request."""
    return encode([encode_record(body), keybox])


def decode_asked(data: bytes) -> SignedRequest | Asked:
    """Return the request in a message.

    Raises:
        MalformedError: it is none, not canonical, or larger than a frame.
    """
    values = decode(data, limit_bytes=FRAME_BYTES_MAX)
    if not isinstance(values, list) or len(values) not in (2, 3) or not isinstance(values[0], bytes):
        raise MalformedError("not a message of the key protocol")
    keybox = values[-1]
    if keybox is not None and not (isinstance(keybox, bytes) and 0 < len(keybox) <= KEYBOX_BYTES_MAX):
        raise MalformedError("the keybox of a request is too large or none")
    if len(values) == 2:
        return Asked(decode_record(StatusRequest, values[0]), keybox)
    if not isinstance(values[1], bytes) or len(values[1]) != 64:
        raise MalformedError("a request carries a signature of 64 bytes")
    return SignedRequest(decode_record(KeyRequest, values[0]), values[0], values[1], keybox)


def encode_grant(body: GrantBody, signer: Signer) -> bytes:
    """Return a signed grant."""
    data = encode_record(body)
    return encode([_GRANT, data, signer.sign(_signed(_TAG_GRANT, data))])


def encode_refusal(code: Code, guardian_time: int, retry_after_s: int = 0) -> bytes:
    """Return a refusal."""
    return encode_record(_Refusal(_REFUSAL, int(code), retry_after_s, guardian_time))


def encode_status(body: StatusBody, signer: Signer) -> bytes:
    """Return a signed status."""
    data = encode_record(body)
    return encode([_STATUS, data, signer.sign(_signed(_TAG_STATUS, data))])


def decode_answer(data: bytes) -> Grant | Refusal | StatusAnswer:
    """Return the answer in a message; its signature, if it has one, is not checked.

    Raises:
        MalformedError: it is none, not canonical, or larger than a frame.
    """
    values = decode(data, limit_bytes=FRAME_BYTES_MAX)
    if not isinstance(values, list) or not values or type(values[0]) is not int:
        raise MalformedError("not an answer of the key protocol")
    if values[0] == _REFUSAL:
        refused = from_value(_Refusal, values)
        return Refusal(Code(refused.code), refused.retry_after_s, refused.guardian_time)
    if (
        values[0] not in (_GRANT, _STATUS)
        or len(values) != 3
        or not isinstance(values[1], bytes)
        or not isinstance(values[2], bytes)
        or len(values[2]) != 64
    ):
        raise MalformedError("not an answer of the key protocol")
    if values[0] == _GRANT:
        return Grant(decode_record(GrantBody, values[1]), values[1], values[2])
    return StatusAnswer(decode_record(StatusBody, values[1]), values[1], values[2])


def holder_cid(peer_key: bytes) -> Cid:
    """Return the name under which a guardian or delegate announces where it is."""
    return cid_of(encode(["marina/guardian/1", peer_key]), RAW)


def _signed(tag: str, body: bytes) -> bytes:
    return tag.encode() + b"\x00" + body
