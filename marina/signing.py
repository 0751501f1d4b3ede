"""Device signatures with domain separation: a signature for one record never fits another.

A signed record travels as E[body, signature] where body is the record's canonical bytes and the
Ed25519 signature covers ``tag ‖ 0x00 ‖ body`` (security.md §1.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from marina.codec import FRAME_BYTES_MAX
from marina.errors import MalformedError
from marina.schema import Bytes64, Size, decode_record, encode_record, record, to_value

R = TypeVar("R")


class Signer(Protocol):
    """Holds an Ed25519 private key and signs with it; the key never leaves it."""

    @property
    def public_key(self) -> bytes:
        """The raw 32-byte Ed25519 public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of a message."""
        ...


@record(None)
@dataclass(frozen=True, slots=True)
class Envelope:
    """A signed record before its signature was checked."""

    body: Annotated[bytes, Size(1, FRAME_BYTES_MAX)]
    signature: Bytes64


def sign_record(signer: Signer, item: object) -> bytes:
    """Return the envelope bytes E[body, signature] of a tagged record."""
    body = encode_record(item)
    return encode_record(Envelope(body, signer.sign(_message(item, body))))


def open_record(cls: type[R], data: bytes, public_key_field: str) -> R:
    """Return the record inside an envelope after checking its signature.

    Args:
        cls: the tagged record that is expected.
        data: envelope bytes.
        public_key_field: name of the record's field that holds the signer's Ed25519 key.

    Raises:
        MalformedError: not canonical, another record, or the signature does not fit.
    """
    envelope = decode_record(Envelope, data)
    item = decode_record(cls, envelope.body)
    verify(getattr(item, public_key_field), envelope.signature, _message(item, envelope.body))
    return item


def verify(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Check an Ed25519 signature; MalformedError if it does not fit."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError) as err:
        raise MalformedError("signature does not fit") from err


def _message(item: object, body: bytes) -> bytes:
    value = to_value(item)
    tag = value[0] if isinstance(value, list) and value and isinstance(value[0], str) else None
    if tag is None:
        raise TypeError("only a tagged record can be signed: its tag is the signature's domain")
    return tag.encode() + b"\x00" + body
