"""UnixFS files over raw leaves of any sizes: what makes a rendition an ordinary IPFS file.

Balanced tree, 1024 links a node, CIDv1, raw leaves, Tsize set; a single leaf is its own root. With
fixed leaf sizes the roots equal those of Kubo, Helia and aleph-cid. The nodes follow from the leaf
digests, so they are built again wherever they are needed and checked wherever they are claimed.
Source: UnixFS and DAG-PB specifications (specs.ipfs.tech/unixfs, ipld.io/specs/codecs/dag-pb).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from marina.cid import DAG_PB, RAW, Cid, cid_from_digest, cid_of
from marina.errors import MalformedError
from marina.protowire import varint
from storage.content.layout import RenditionLayout

LINKS_MAX = 1024
_TYPE_FILE = 2
_NO_NAME = b"\x12\x00\x18"
"""The empty name of a link, field 2, and the tag of its Tsize, field 3."""


class Leaf(NamedTuple):
    """A subtree as its parent sees it; a tuple, because a song has hundreds.

    Attributes:
        cid: the subtree's root.
        file_bytes: bytes of the file below it.
        tree_bytes: those plus the sizes of all nodes, the link's Tsize.
    """

    cid: Cid
    file_bytes: int
    tree_bytes: int


@dataclass(frozen=True, slots=True)
class UnixfsFile:
    """A file's root and its inner nodes, the root last; no nodes when one leaf is the whole file."""

    root: Cid
    nodes: tuple[tuple[Cid, bytes], ...]


def build_file(leaves: Sequence[Leaf], *, links_max: int = LINKS_MAX) -> UnixfsFile:
    """Return the tree over the leaves of one file, in order; ValueError without any leaf.

    Marina's own files have 1024 links a node; Kubo's default profile has 174.
    """
    if not leaves:
        raise ValueError("a file has at least one leaf")
    nodes: list[tuple[Cid, bytes]] = []
    level = list(leaves)
    while len(level) > 1:
        above: list[Leaf] = []
        for start in range(0, len(level), links_max):
            children = level[start : start + links_max]
            data = _node(children)
            cid = cid_of(data, DAG_PB)
            nodes.append((cid, data))
            file_bytes = sum(child.file_bytes for child in children)
            above.append(Leaf(cid, file_bytes, len(data) + sum(child.tree_bytes for child in children)))
        level = above
    return UnixfsFile(level[0].cid, tuple(nodes))


def rendition_file(plaintext_bytes: int, digests: bytes) -> tuple[RenditionLayout, UnixfsFile]:
    """Return layout and tree of a rendition whose segment digests are known."""
    plan = RenditionLayout(cid_from_digest(bytes(32), RAW), plaintext_bytes, digests).plan
    leaves = [
        Leaf(cid_from_digest(digests[32 * index : 32 * index + 32]), size, size)
        for index, size in enumerate(plan.lengths())
    ]
    tree = build_file(leaves)
    return RenditionLayout(tree.root, plaintext_bytes, digests), tree


def check_layout(layout: RenditionLayout) -> UnixfsFile:
    """Return the tree of a layout that somebody else claims.

    Raises:
        MalformedError: its root is not the root of its segments.
    """
    built, tree = rendition_file(layout.plaintext_bytes, layout.digests)
    if built.root != layout.root:
        raise MalformedError("a rendition's root does not match its segments")
    return tree


def _node(children: Sequence[Leaf]) -> bytes:
    links = b"".join(_field(2, _link(child)) for child in children)
    return links + _field(1, _unixfs(children))


def _link(child: Leaf) -> bytes:
    return _field(1, child.cid) + _NO_NAME + varint(child.tree_bytes)


def _unixfs(children: Sequence[Leaf]) -> bytes:
    file_bytes = sum(child.file_bytes for child in children)
    sizes = b"".join(b"\x20" + varint(child.file_bytes) for child in children)
    return b"\x08" + varint(_TYPE_FILE) + b"\x18" + varint(file_bytes) + sizes


def _field(number: int, data: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + varint(len(data)) + data
