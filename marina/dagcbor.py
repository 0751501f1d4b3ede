"""DAG-CBOR for manifests: the IPLD data model without floats, in its one canonical form.

cbor2 reads and writes CBOR; this file adds what DAG-CBOR asks on top: links are tag 42 over
``0x00 ‖ CID``, map keys are strings, nothing else is tagged, and exactly one encoding is accepted
(decoding re-encodes and compares). libipld was tried and left: it turns every byte string that
happens to parse as a CID into a link. Source: ipld.io/specs/codecs/dag-cbor/spec.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cbor2

from marina.cid import Cid, check_cid
from marina.errors import MalformedError

_LINK_TAG = 42
_DEPTH_MAX = 16


@dataclass(frozen=True, slots=True)
class Link:
    """A link to another block, as opposed to bytes that look like one."""

    cid: Cid


Node: TypeAlias = "bool | int | bytes | str | Link | list[Node] | dict[str, Node] | None"


def encode(node: Node) -> bytes:
    """Return the canonical DAG-CBOR bytes of a node; TypeError for floats and foreign types."""
    return cbor2.dumps(_to_cbor(node, 0), canonical=True)


def decode(data: bytes, *, limit_bytes: int) -> Node:
    """Return the node in canonical DAG-CBOR bytes.

    Raises:
        MalformedError: too long, not canonical, nested deeper than 16, or a type outside the model.
    """
    if len(data) > limit_bytes:
        raise MalformedError(f"manifest of {len(data)} bytes is larger than the limit of {limit_bytes}")
    try:
        node = _from_cbor(cbor2.loads(data), 0)
        again = encode(node)
    except (cbor2.CBORDecodeError, TypeError, ValueError, OverflowError, RecursionError) as err:
        raise MalformedError("manifest is not valid DAG-CBOR") from err
    if again != data:
        raise MalformedError("manifest is not in canonical form")
    return node


def _to_cbor(node: Node, depth: int) -> object:
    if depth > _DEPTH_MAX:
        raise TypeError("a node is nested too deeply")
    if isinstance(node, Link):
        return cbor2.CBORTag(_LINK_TAG, b"\x00" + node.cid)
    if isinstance(node, dict):
        if not all(type(key) is str for key in node):
            raise TypeError("map keys are strings")
        return {key: _to_cbor(value, depth + 1) for key, value in node.items()}
    if isinstance(node, list):
        return [_to_cbor(value, depth + 1) for value in node]
    if isinstance(node, int) and not isinstance(node, bool) and not -(2**63) <= node < 2**64:
        raise TypeError("an integer does not fit 64 bits")
    if node is None or type(node) in (bool, int, bytes, str):
        return node
    raise TypeError(f"{type(node).__name__} has no DAG-CBOR form here")


def _from_cbor(value: object, depth: int) -> Node:
    if depth > _DEPTH_MAX:
        raise MalformedError("manifest is nested too deeply")
    if isinstance(value, cbor2.CBORTag):
        if value.tag != _LINK_TAG or not isinstance(value.value, bytes) or value.value[:1] != b"\x00":
            raise MalformedError("manifest holds a tag that is not a link")
        return Link(check_cid(value.value[1:]))
    if isinstance(value, dict):
        return {_key(key): _from_cbor(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_from_cbor(item, depth + 1) for item in value]
    if value is None or isinstance(value, bool | int | bytes | str):
        return value
    raise MalformedError(f"manifest holds a {type(value).__name__}")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise MalformedError("a map key in the manifest is not text")
    return key
