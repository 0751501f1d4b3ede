"""Byte ranges of HTTP, as pure functions. Source: RFC 9110 §13 and §14."""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEADER_CHARS_MAX = 128
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A satisfiable range, both ends included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """Number of bytes."""
        return self.last - self.first + 1

    def content_range(self, total: int) -> str:
        """Return the value of Content-Range."""
        return f"bytes {self.first}-{self.last}/{total}"


class UnsatisfiableRangeError(Exception):
    """The answer is 416 with ``Content-Range: bytes */total``."""


def parse_range(header: str | None, total: int) -> ByteRange | None:
    """Return the single range that a Range header asks for, None where the whole is the answer.

    A header that is malformed, of another unit, or of several ranges is ignored, as the RFC allows.

    Raises:
        UnsatisfiableRangeError: the range lies wholly outside the representation.
    """
    if header is None or len(header) > _HEADER_CHARS_MAX:
        return None
    unit, _, specs = header.partition("=")
    match = _SPEC.fullmatch(specs.strip())
    if unit.strip().lower() != "bytes" or match is None or match[0] == "-":
        return None
    first, last = match[1], match[2]
    if not first:
        length = int(last)
        if length == 0 or total == 0:
            raise UnsatisfiableRangeError
        return ByteRange(max(0, total - length), total - 1)
    if last and int(last) < int(first):
        return None
    if int(first) >= total:
        raise UnsatisfiableRangeError
    return ByteRange(int(first), min(int(last), total - 1) if last else total - 1)


def is_fresh(if_none_match: str | None, etag: str) -> bool:
    """Return whether 304 is the answer: If-None-Match names this entity tag (weakly) or ``*``."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


def range_applies(if_range: str | None, etag: str) -> bool:
    """Return whether Range may be honoured: no If-Range, or one with exactly this strong tag."""
    return if_range is None or if_range.strip() == etag
