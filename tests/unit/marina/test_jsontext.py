from __future__ import annotations

import json
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marina.jsontext import DEPTH_MAX, load_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(value=JSON)
def test_what_json_wrote_is_read(value):
    assert load_json(json.dumps(value).encode(), depth_max=1000) == value
    assert (
        load_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"), depth_max=1000) is not ...
    )


def test_nesting_is_bounded_whatever_the_recursion_limit_is():
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        for opening in (b"[", b'{"a":', b'["]",'):
            with pytest.raises(ValueError, match="nested deeper"):
                load_json(opening * 150_000)
        for body in (
            b'"\\"' + b"[" * 150_000,
            b'"' + b"[" * 150_000 + b'"]',
            b"\xff\xfe" + "[".encode("utf-16-le") * 150_000,
        ):
            with pytest.raises(ValueError):  # noqa: PT011
                load_json(body)
    finally:
        sys.setrecursionlimit(limit)


def test_the_deepest_allowed_text_is_read():
    assert load_json(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    with pytest.raises(ValueError, match="nested deeper"):
        load_json(b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1))


def test_brackets_in_strings_are_no_nesting():
    text = "[{" * 1000 + '\\"]}'
    assert load_json(json.dumps([text]).encode()) == [text]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"NaN", b'{"a":Infinity}', b"\xff", b"9" * 5000, b"\xef\xbb\xbf[]"]
)
def test_what_is_no_json_is_a_value_error(body):
    with pytest.raises(ValueError):  # noqa: PT011
        load_json(body)


def test_its_time_is_linear():
    started_s = time.monotonic()
    for body in (b'"' * 500_001, b'\\"' * 500_000, b'"\\' * 500_000):
        with pytest.raises(ValueError):  # noqa: PT011
            load_json(body)
    assert time.monotonic() - started_s < 3
