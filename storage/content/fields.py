"""Reading DAG-CBOR maps from strangers: every field typed and bounded, unknown fields ignored.

A reader ignores keys it does not know, so that a minor version can add some; the signature covers
them all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from marina.cid import Cid
from marina.dagcbor import Link, Node
from marina.errors import MalformedError

T = TypeVar("T")


class Fields:
    """One map of a manifest."""

    def __init__(self, node: Node, noun: str) -> None:
        if not isinstance(node, dict):
            raise MalformedError(f"{noun} is not a map")
        self._map = node
        self._noun = noun

    def literal(self, key: str, expected: str) -> None:
        """Check that a field holds exactly this text."""
        if self._map.get(key) != expected:
            raise MalformedError(f"{self._noun} is not a {expected}")

    def text(self, key: str, max_bytes: int, *, may_be_empty: bool = True) -> str:
        """Return a text field of bounded length in UTF-8."""
        value = self._of(key, str)
        if len(value.encode()) > max_bytes or not (value or may_be_empty):
            raise self._outside(key)
        return value

    def blob(self, key: str, low: int, high: int) -> bytes:
        """Return a bytes field with a length from ``low`` to ``high``."""
        value = self._of(key, bytes)
        if not low <= len(value) <= high:
            raise self._outside(key)
        return value

    def number(self, key: str, low: int, high: int) -> int:
        """Return an integer field within bounds."""
        value = self._of(key, int)
        if not low <= value <= high:
            raise self._outside(key)
        return value

    def flag(self, key: str) -> bool:
        """Return a boolean field."""
        return self._of(key, bool)

    def link(self, key: str) -> Cid:
        """Return the CID of a link field."""
        return self._of(key, Link).cid

    def optional(self, key: str, read: Callable[[], T]) -> T | None:
        """Return None for a null field, else what ``read`` makes of it; a missing field is an error."""
        if key not in self._map:
            raise self._outside(key)
        return None if self._map[key] is None else read()

    def items(self, key: str, max_items: int, read: Callable[[Node], T]) -> tuple[T, ...]:
        """Return a list field of bounded length, each item read by ``read``."""
        value = self._map.get(key)
        if not isinstance(value, list) or len(value) > max_items:
            raise self._outside(key)
        return tuple(read(item) for item in value)

    def node(self, key: str) -> Node:
        """Return a field as it is."""
        return self._map.get(key)

    def _of(self, key: str, kind: type[T]) -> T:
        value = self._map.get(key)
        if type(value) is not kind:
            raise self._outside(key)
        return value

    def _outside(self, key: str) -> MalformedError:
        return MalformedError(f"{self._noun}: field {key!r} is missing, of a wrong type or out of bounds")


def short_text(node: Node) -> str:
    """Return a list item that is text of at most 256 bytes."""
    if not isinstance(node, str) or len(node.encode()) > 256:
        raise MalformedError("a list in a manifest holds something other than short text")
    return node
