"""Records keep their bounds in both directions, and the registry keeps tags unique and gapless."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from marina.codec import decode, encode
from marina.errors import MalformedError
from marina.schema import U8, U64, Bytes20, Bytes32, Size, decode_record, encode_record, record
from marina.signing import open_record, sign_record


@record(None)
@dataclass(frozen=True, slots=True)
class Inner:
    number: U8


@record("test/outer/1")
@dataclass(frozen=True, slots=True)
class Outer:
    key: Bytes32
    total: U64
    name: Annotated[str, Size(1, 8)]
    parts: Annotated[tuple[Inner, ...], Size(0, 3)]
    pair: tuple[str, bytes]
    maybe: Bytes20 | None


GOOD = Outer(b"k" * 32, 7, "night", (Inner(1), Inner(2)), ("a", b"b"), None)


@given(
    st.binary(min_size=32, max_size=32), st.integers(0, 2**64 - 1), st.lists(st.integers(0, 255), max_size=3)
)
def test_a_record_survives_its_encoding(key, total, numbers):
    item = Outer(key, total, "x", tuple(Inner(n) for n in numbers), ("", b""), b"a" * 20)
    assert decode_record(Outer, encode_record(item)) == item


def test_the_encoding_is_a_plain_array_with_the_tag_first():
    assert decode(encode_record(GOOD)) == [
        "test/outer/1",
        b"k" * 32,
        7,
        "night",
        [[1], [2]],
        ["a", b"b"],
        None,
    ]


BAD = {
    "another tag": (0, "test/outer/2"),
    "short key": (1, b"k" * 31),
    "negative": (2, -1),
    "boolean as number": (2, True),
    "empty name": (3, ""),
    "long name in bytes": (3, "ééééé"),
    "bytes as text": (3, b"night"),
    "too many parts": (4, [[1]] * 4),
    "part out of range": (4, [[256]]),
    "part too long": (4, [[1, 2]]),
    "pair of three": (5, ["a", b"b", b"c"]),
    "wrong optional": (6, b"short"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_bound_is_malformed(name):
    place, value = BAD[name]
    values = decode(encode_record(GOOD))
    values[place] = value
    with pytest.raises(MalformedError):
        decode_record(Outer, encode(values))


@pytest.mark.parametrize("values", [[], ["test/outer/1"], [*decode(encode_record(GOOD)), 1], 5, "text", None])
def test_another_shape_is_malformed(values):
    with pytest.raises(MalformedError):
        decode_record(Outer, encode(values))


def test_a_value_outside_its_bounds_is_not_written():
    with pytest.raises(ValueError, match="total"):
        encode_record(Outer(b"k" * 32, -1, "x", (), ("", b""), None))
    with pytest.raises(ValueError, match="parts"):
        encode_record(Outer(b"k" * 32, 1, "x", ("no",), ("", b""), None))


def test_the_registry_refuses_a_taken_tag_a_gap_and_a_missing_version():
    for tag in ("test/outer/1", "test/outer/3", "test/fresh/2", "test", "test/outer/0"):
        with pytest.raises(ValueError, match="tag"):
            record(tag)(dataclass(frozen=True)(type("Other", (), {"__annotations__": {}})))


class Device:
    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


@record("test/twin/1")
@dataclass(frozen=True, slots=True)
class Twin:
    key: Bytes32


@record("test/other-twin/1")
@dataclass(frozen=True, slots=True)
class OtherTwin:
    key: Bytes32


def test_a_signature_fits_its_own_record_only():
    device = Device(b"s" * 32)
    data = sign_record(device, Twin(device.public_key))
    assert open_record(Twin, data, "key") == Twin(device.public_key)
    with pytest.raises(MalformedError):
        open_record(OtherTwin, data, "key")
    body, signature = decode(data)
    moved = encode([encode_record(OtherTwin(device.public_key)), signature])
    with pytest.raises(MalformedError, match="signature"):
        open_record(OtherTwin, moved, "key")
    stranger = encode([encode_record(Twin(Device(b"t" * 32).public_key)), signature])
    with pytest.raises(MalformedError, match="signature"):
        open_record(Twin, stranger, "key")
    assert decode(body)[0] == "test/twin/1"


@given(st.data())
def test_a_flipped_byte_of_a_signed_record_is_noticed(data):
    device = Device(b"s" * 32)
    bad = bytearray(sign_record(device, Twin(device.public_key)))
    bad[data.draw(st.integers(0, len(bad) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(MalformedError):
        open_record(Twin, bytes(bad), "key")
