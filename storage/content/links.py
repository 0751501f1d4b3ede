"""The links of a block, for walking a DAG: what DAG-PB and DAG-CBOR say, and nothing for raw bytes."""

from __future__ import annotations

from marina import dagcbor
from marina.cid import DAG_CBOR, DAG_PB, Cid, codec_of, known_cid
from marina.dagcbor import Link
from marina.errors import MalformedError
from marina.protowire import fields

NODE_BYTES_MAX = 2 * 1024 * 1024
LINKS_MAX = 100_000
_LINK_FIELD, _HASH_FIELD = 0x12, 0x0A


def links_of(cid: Cid, data: bytes) -> tuple[Cid, ...]:
    """Return the links of a block, in their order, as often as they stand in it.

    Raises:
        MalformedError: it is no node of its codec, has more than 100,000 links, or links to a kind of block
            that is not known here.
    """
    if codec_of(cid) == DAG_PB:
        return _dag_pb(memoryview(data))
    if codec_of(cid) == DAG_CBOR:
        found: list[Cid] = []
        _collect(dagcbor.decode(data, limit_bytes=NODE_BYTES_MAX), found)
        return tuple(found)
    return ()


def link_target(link: memoryview) -> Cid:
    """Return what one link of a DAG-PB node names; MalformedError as for ``links_of``."""
    hashes = [bytes(link[at:end]) for tag, _, at, end in fields(link) if tag == _HASH_FIELD]
    cid = known_cid(hashes[0]) if len(hashes) == 1 else None
    if cid is None:
        raise MalformedError("a node links to a kind of block that is not known here")
    return cid


def _collect(node: dagcbor.Node, found: list[Cid]) -> None:
    if isinstance(node, Link):
        found.append(node.cid)
    elif isinstance(node, list):
        for each in node:
            _collect(each, found)
    elif isinstance(node, dict):
        for each in node.values():
            _collect(each, found)


def _dag_pb(view: memoryview) -> tuple[Cid, ...]:
    found: list[Cid] = []
    for tag, _, at, end in fields(view):
        if tag != _LINK_FIELD:
            continue
        found.append(link_target(view[at:end]))
        if len(found) > LINKS_MAX:
            raise MalformedError(f"a node with more than {LINKS_MAX} links")
    return tuple(found)
