"""UnixFS roots equal those of an independent implementation for fixed leaf sizes."""

from __future__ import annotations

import os

import pytest
from aleph_cid import CidHasher
from hypothesis import given, settings
from hypothesis import strategies as st

from marina.cid import cid_of, cid_text
from marina.errors import MalformedError
from storage.content.layout import RenditionLayout, SegmentPlan
from storage.content.proof import check_path, proof_path, proof_root
from storage.content.unixfs import Leaf, build_file, check_layout, rendition_file
from storage.content.unixfs_node import children_of

LEAF = 256 * 1024


def root_of(data: bytes) -> str:
    parts = [data[at : at + LEAF] for at in range(0, len(data) or 1, LEAF)]
    leaves = [Leaf(cid_of(part), len(part), len(part)) for part in parts]
    return cid_text(build_file(leaves, links_max=174).root)


@pytest.mark.parametrize("size", [0, 1, LEAF - 1, LEAF, LEAF + 1, 5 * LEAF + 7, 174 * LEAF, 174 * LEAF + 1])
def test_the_root_equals_that_of_an_independent_implementation(size):
    data = os.urandom(size)
    oracle = CidHasher.for_ipfs_v1_raw_leaves()
    oracle.update(data)
    assert root_of(data) == oracle.finalize()


@settings(max_examples=25)
@given(st.integers(0, 6 * LEAF))
def test_the_root_is_the_same_at_any_size(size):
    data = bytes(range(256)) * (size // 256 + 1)
    oracle = CidHasher.for_ipfs_v1_raw_leaves()
    oracle.update(data[:size])
    assert root_of(data[:size]) == oracle.finalize()


def leaves_below(root, nodes):
    """Return (CID, bytes) of the leaves below a root, read from the bytes of its nodes."""
    if root not in nodes:
        return [root]
    return [leaf for cid, _ in children_of(nodes[root]) for leaf in leaves_below(cid, nodes)]


@settings(max_examples=100)
@given(st.lists(st.integers(1, 2**40), min_size=2, max_size=40), st.integers(2, 9))
def test_a_tree_of_any_leaf_sizes_is_read_back(sizes, links_max):
    leaves = [Leaf(cid_of(str(at).encode()), size, size) for at, size in enumerate(sizes)]
    tree = build_file(leaves, links_max=links_max)
    nodes = dict(tree.nodes)
    assert leaves_below(tree.root, nodes) == [each.cid for each in leaves]
    assert sum(size for _, size in children_of(nodes[tree.root])) == sum(sizes)


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_a_node_or_malformed(data):
    try:
        found = children_of(data)
    except MalformedError:
        return
    assert all(size >= 0 for _, size in found)


@settings(max_examples=30)
@given(st.integers(1, 4_000_000))
def test_a_layout_with_another_root_is_refused(length):
    digests = os.urandom(32 * SegmentPlan(length).count)
    layout, tree = rendition_file(length, digests)
    assert check_layout(layout) == tree
    forged = RenditionLayout(cid_of(b"elsewhere", layout.root[1]), length, digests)
    with pytest.raises(MalformedError):
        check_layout(forged)


def test_more_than_1024_segments_make_a_tree_of_two_levels():
    count = 1500
    leaves = [Leaf(cid_of(str(i).encode()), 10, 10) for i in range(count)]
    tree = build_file(leaves)
    assert len(tree.nodes) == 3
    assert tree.nodes[-1][0] == tree.root


@settings(max_examples=40)
@given(st.integers(1, 70), st.data())
def test_a_proof_path_proves_its_own_place_only(count, data):
    digests = os.urandom(32 * count)
    index = data.draw(st.integers(0, count - 1))
    root, path = proof_root(digests), proof_path(digests, index)
    digest = digests[32 * index : 32 * index + 32]
    assert check_path(root, digest, index, count, path)
    for other in range(count):
        if other != index:
            assert not check_path(root, digest, other, count, path)
    assert not check_path(root, bytes(32), index, count, path)
