"""Range headers: every answer agrees with slicing, everything odd is the whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.ranges import ByteRange, UnsatisfiableRangeError, is_fresh, parse_range, range_applies


@given(st.integers(1, 10_000), st.integers(0, 12_000), st.integers(0, 12_000))
def test_a_range_is_the_slice_it_names(total, first, last):
    body = bytes(i % 251 for i in range(total))
    header = f"bytes={first}-{last}"
    if last < first:
        assert parse_range(header, total) is None
    elif first >= total:
        with pytest.raises(UnsatisfiableRangeError):
            parse_range(header, total)
    else:
        found = parse_range(header, total)
        assert body[found.first : found.last + 1] == body[first : last + 1]
        assert found.length == len(body[first : last + 1])
        assert found.content_range(total) == f"bytes {first}-{min(last, total - 1)}/{total}"


@given(st.integers(1, 10_000), st.integers(1, 20_000))
def test_a_suffix_is_the_end(total, length):
    found = parse_range(f"bytes=-{length}", total)
    assert (found.first, found.last) == (max(0, total - length), total - 1)


@given(st.integers(1, 10_000), st.data())
def test_an_open_range_goes_to_the_end(total, data):
    first = data.draw(st.integers(0, total - 1))
    assert parse_range(f"bytes={first}-", total) == ByteRange(first, total - 1)


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "items=0-1", "bytes=0-1,3-4",
     "bytes=0x1-2", "bytes=" + "9" * 600 + "-", "bytes=-1-2", "bytes=１-２"],
)  # fmt: skip
def test_an_odd_header_means_the_whole(header):
    assert parse_range(header, 100) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_outside_is_unsatisfiable(header):
    with pytest.raises(UnsatisfiableRangeError):
        parse_range(header, 100)


def test_conditions():
    assert is_fresh('W/"a", "b"', '"b"')
    assert is_fresh('W/"a"', '"a"')
    assert is_fresh("*", '"x"')
    assert not is_fresh(None, '"x"')
    assert range_applies(None, '"a"')
    assert range_applies('"a"', '"a"')
    assert not range_applies('W/"a"', '"a"')
    assert not range_applies("Wed, 21 Oct 2015 07:28:00 GMT", '"a"')
