"""CIDv1 with sha2-256, as 36 plain bytes: version, codec, hash code, digest length, digest.

Written by hand because the general libraries take 200-400 µs a CID where this takes one
(performance.md §1), and a song has hundreds.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import NewType

from marina.errors import MalformedError

Cid = NewType("Cid", bytes)

RAW = 0x55
DAG_PB = 0x70
DAG_CBOR = 0x71
CODECS = frozenset({RAW, DAG_PB, DAG_CBOR})
CID_BYTES = 36
DIGEST_BYTES = 32
V0_BYTES = 2 + DIGEST_BYTES
_V0_START = b"\x12\x20"


def cid_of(data: bytes | bytearray | memoryview, codec: int = RAW) -> Cid:
    """Return the CID of a block's bytes."""
    return cid_from_digest(hashlib.sha256(data).digest(), codec)


def cid_from_digest(digest: bytes, codec: int = RAW) -> Cid:
    """Return the CID of a block whose 32-byte sha2-256 digest is known."""
    if len(digest) != DIGEST_BYTES:
        raise ValueError("a sha2-256 digest has 32 bytes")
    return Cid(bytes((1, codec, 0x12, DIGEST_BYTES)) + digest)


def digest_of(cid: Cid) -> bytes:
    """Return the 32-byte digest inside a CID."""
    return cid[4:]


def codec_of(cid: Cid) -> int:
    """Return the codec byte of a CID: RAW, DAG_PB or DAG_CBOR."""
    return cid[1]


def check_cid(data: bytes) -> Cid:
    """Return the bytes as a CID; MalformedError unless CIDv1, a known codec and sha2-256."""
    if len(data) != CID_BYTES or data[0] != 1 or data[2:4] != b"\x12\x20" or data[1] not in CODECS:
        raise MalformedError("not a CIDv1 with a sha2-256 digest and a codec that Marina knows")
    return Cid(bytes(data))


def known_cid(name: bytes) -> Cid | None:
    """Return a CID as other programs write it under the form used here; None for kinds not known here.

    A CIDv0, a bare sha2-256 multihash, names a DAG-PB node.
    """
    if len(name) == V0_BYTES and name[:2] == _V0_START:
        return cid_from_digest(name[2:], DAG_PB)
    try:
        return check_cid(name)
    except MalformedError:
        return None


def matches(cid: Cid, data: bytes | bytearray | memoryview) -> bool:
    """Return whether a block's bytes hash to its CID."""
    return hashlib.sha256(data).digest() == cid[4:]


def cid_text(cid: Cid) -> str:
    """Return the base32 text form, as every IPFS tool prints it (``bafy…``, ``bafk…``)."""
    return "b" + base64.b32encode(cid).decode().lower().rstrip("=")


def parse_cid(text: str) -> Cid:
    """Return the CID of its base32 text form; MalformedError for any other text."""
    if not text.startswith("b") or text != text.lower():
        raise MalformedError(f"{text[:80]!r} is not a base32 CIDv1 (it starts with 'b')")
    body = text[1:].upper()
    try:
        cid = check_cid(base64.b32decode(body + "=" * (-len(body) % 8)))
    except (binascii.Error, ValueError) as err:
        raise MalformedError(f"{text[:80]!r} is not a base32 CIDv1") from err
    if cid_text(cid) != text:
        raise MalformedError(f"{text[:80]!r} is not a canonical CID")
    return cid
