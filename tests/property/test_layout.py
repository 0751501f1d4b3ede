"""The cut into segments covers every byte once and its lookups agree with one another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from storage.content.layout import LARGE_BYTES, PLAINTEXT_BYTES_MAX, SMALL_BYTES, TAG_BYTES, SegmentPlan

SIX_SMALL = 6 * (SMALL_BYTES - TAG_BYTES)
lengths = st.one_of(
    st.integers(1, 3_000_000),
    st.integers(SIX_SMALL - 20, SIX_SMALL + 20),
    st.integers(1, PLAINTEXT_BYTES_MAX),
)


@given(st.integers(1, 6_000_000))
def test_segments_cover_the_plaintext_once_and_in_order(length):
    plan = SegmentPlan(length)
    at = sealed_at = 0
    assert plan.lengths() == [plan.ciphertext(index).length for index in range(plan.count)]
    for index in range(plan.count):
        plain, sealed = plan.plaintext(index), plan.ciphertext(index)
        assert plain.start == at
        assert plain.length >= 1
        assert sealed.start == sealed_at
        assert sealed.length == plain.length + TAG_BYTES <= LARGE_BYTES
        at, sealed_at = plain.end, sealed.end
    assert at == length
    assert sealed_at == plan.ciphertext_bytes


@given(lengths, st.data())
def test_index_at_finds_the_segment_that_holds_a_byte(length, data):
    plan = SegmentPlan(length)
    offset = data.draw(st.integers(0, length - 1))
    span = plan.plaintext(plan.index_at(offset))
    assert span.start <= offset < span.end


@given(st.integers(SIX_SMALL + 1, PLAINTEXT_BYTES_MAX))
def test_a_long_rendition_has_small_edges_and_large_middles(length):
    plan = SegmentPlan(length)
    sizes = [plan.ciphertext(i).length for i in (*range(4), plan.count - 2, plan.count - 1)]
    assert sizes == [SMALL_BYTES] * 6
    assert all(plan.ciphertext(i).length == LARGE_BYTES for i in range(4, plan.count - 3))
    assert 0 < plan.ciphertext(plan.count - 3).length <= LARGE_BYTES


@given(st.integers(1, SIX_SMALL))
def test_a_short_rendition_is_all_small_segments(length):
    plan = SegmentPlan(length)
    sizes = [plan.ciphertext(i).length for i in range(plan.count)]
    assert plan.count <= 6
    assert all(size == SMALL_BYTES for size in sizes[:-1])
