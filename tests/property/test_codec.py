"""Canonical msgpack: values survive, everything else is refused as malformed and nothing else."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marina.codec import DEPTH_MAX, decode, encode
from marina.errors import MalformedError

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.binary(max_size=300), st.text(max_size=300)
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=20), max_leaves=30)


def depth(value):
    return 1 + max((depth(item) for item in value), default=0) if isinstance(value, list) else 0


@given(values)
def test_a_value_survives_its_encoding(value):
    if depth(value) <= DEPTH_MAX:
        assert decode(encode(value)) == value
    else:
        with pytest.raises(MalformedError):
            decode(encode(value))


@given(st.binary(max_size=400))
def test_random_bytes_decode_to_a_value_with_exactly_those_bytes_or_are_malformed(data):
    try:
        value = decode(data)
    except MalformedError:
        return
    assert encode(value) == data


@given(values, st.data())
def test_a_flipped_byte_is_malformed_or_another_value(value, data):
    good = encode(value)
    place = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[place] ^= data.draw(st.integers(1, 255))
    try:
        again = decode(bytes(bad))
    except MalformedError:
        return
    assert encode(again) == bytes(bad) != good


BOMBS = {
    "arrays": b"\xdd\x00\x00\xff\xff" + b"\x90" * 65000,
    "maps": b"\x80" * 65000,
    "map header": b"\xdf\xff\xff\xff\xff",
    "array header": b"\xdd\xff\xff\xff\xff",
    "bin header": b"\xc6\xff\xff\xff\xff",
    "str header": b"\xdb\xff\xff\xff\xff",
    "ext": b"\xc9\xff\xff\xff\xff\x01",
    "timestamp": b"\xd6\xff\x00\x00\x00\x00",
    "nested": b"\x91" * 60000 + b"\x90",
    "wide nested": b"\x9f" * 60000,
    "float": b"\xcb" + bytes(8),
    "nan": b"\xcb\x7f\xf8" + bytes(6),
    "long integer": b"\xcd\x00\x01",
    "long string": b"\xd9\x01a",
    "long array": b"\xdc\x00\x01\xc0",
    "bad utf-8": b"\xa2\xff\xfe",
    "surrogate": b"\xa3\xed\xa0\x80",
    "trailing": b"\xc0\xc0",
    "reserved": b"\xc1",
    "empty": b"",
    "cut array": b"\x92\x01",
    "cut string": b"\xa5ab",
    "too large": encode(b"x" * 70000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_quickly_and_in_little_memory(name):
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(MalformedError):
        decode(BOMBS[name])
    spent = time.process_time() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    assert spent < 0.25  # the bound is 5 ms; tracemalloc and a busy machine slow it down


@pytest.mark.parametrize("value", [1.5, {"a": 1}, {1}, object(), 2**64, -(2**63) - 1])
def test_types_without_a_canonical_form_are_not_encoded(value):
    with pytest.raises((TypeError, OverflowError)):
        encode([value])
