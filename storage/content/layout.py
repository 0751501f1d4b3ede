"""Where each segment of a rendition lies, from its plaintext length alone.

Segments are ciphertext of 64 KiB for the first 256 KiB and the last 128 KiB and 256 KiB between
(docs/protocol/content.md), so that playback starts and seeks with little and bulk costs little.
A plaintext of at most six small segments is all small ones, the remainder last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from marina.cid import DIGEST_BYTES, Cid, cid_from_digest

TAG_BYTES = 16
SMALL_BYTES = 64 * 1024
LARGE_BYTES = 256 * 1024
HEAD_SEGMENTS = 4
TAIL_SEGMENTS = 2
_SMALL = SMALL_BYTES - TAG_BYTES
_LARGE = LARGE_BYTES - TAG_BYTES
_EDGE = (HEAD_SEGMENTS + TAIL_SEGMENTS) * _SMALL
PLAINTEXT_BYTES_MAX = 3 * 1024**3
"""Largest rendition: 32 bytes a segment make 394 KB, which leaves its manifest below 512 KiB."""


class Span(NamedTuple):
    """A half-open byte range; a tuple, because every segment of every pass makes one."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """First byte behind the range."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """The cut of one plaintext into segments; all lookups are O(1).

    Attributes:
        plaintext_bytes: length of the encoded audio, at least 1.
    """

    plaintext_bytes: int

    def __post_init__(self) -> None:
        if not 1 <= self.plaintext_bytes <= PLAINTEXT_BYTES_MAX:
            raise ValueError(f"a rendition has 1 to {PLAINTEXT_BYTES_MAX} bytes, not {self.plaintext_bytes}")

    @property
    def count(self) -> int:
        """Number of segments."""
        if self.plaintext_bytes <= _EDGE:
            return -(-self.plaintext_bytes // _SMALL)
        return HEAD_SEGMENTS + self._middle_count + TAIL_SEGMENTS

    @property
    def ciphertext_bytes(self) -> int:
        """Length of all segments together."""
        return self.plaintext_bytes + self.count * TAG_BYTES

    def plaintext(self, index: int) -> Span:
        """Return where segment ``index`` lies in the plaintext; IndexError outside."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        if self.plaintext_bytes <= _EDGE or index < HEAD_SEGMENTS:
            start = index * _SMALL
            return Span(start, min(_SMALL, self.plaintext_bytes - start))
        tail = index - HEAD_SEGMENTS - self._middle_count
        if tail >= 0:
            return Span(self.plaintext_bytes - (TAIL_SEGMENTS - tail) * _SMALL, _SMALL)
        start = HEAD_SEGMENTS * _SMALL + (index - HEAD_SEGMENTS) * _LARGE
        return Span(start, min(_LARGE, self.plaintext_bytes - TAIL_SEGMENTS * _SMALL - start))

    def ciphertext(self, index: int) -> Span:
        """Return where segment ``index`` lies in the ciphertext file; IndexError outside."""
        plain = self.plaintext(index)
        return Span(plain.start + index * TAG_BYTES, plain.length + TAG_BYTES)

    def lengths(self) -> list[int]:
        """Return the ciphertext length of every segment in order: what ``ciphertext`` says, at once."""
        if self.plaintext_bytes <= _EDGE:
            rest = self.plaintext_bytes - (self.count - 1) * _SMALL
            return [SMALL_BYTES] * (self.count - 1) + [rest + TAG_BYTES]
        middle = self._middle_count
        rest = self.plaintext_bytes - _EDGE - (middle - 1) * _LARGE
        edges = [SMALL_BYTES] * HEAD_SEGMENTS, [SMALL_BYTES] * TAIL_SEGMENTS
        return [*edges[0], *[LARGE_BYTES] * (middle - 1), rest + TAG_BYTES, *edges[1]]

    def index_at(self, plaintext_offset: int) -> int:
        """Return the segment that holds a plaintext byte; IndexError outside."""
        if not 0 <= plaintext_offset < self.plaintext_bytes:
            raise IndexError(plaintext_offset)
        if self.plaintext_bytes <= _EDGE or plaintext_offset < HEAD_SEGMENTS * _SMALL:
            return plaintext_offset // _SMALL
        from_end = self.plaintext_bytes - 1 - plaintext_offset
        if from_end < TAIL_SEGMENTS * _SMALL:
            return self.count - 1 - from_end // _SMALL
        return HEAD_SEGMENTS + (plaintext_offset - HEAD_SEGMENTS * _SMALL) // _LARGE

    @property
    def _middle_count(self) -> int:
        return -(-(self.plaintext_bytes - _EDGE) // _LARGE)


@dataclass(frozen=True, slots=True)
class RenditionLayout:
    """A rendition as storage and network see it: root, cut and the digest of each segment.

    Attributes:
        root: CID of the UnixFS file over the segments; names the rendition everywhere.
        plaintext_bytes: length before encryption.
        digests: sha2-256 of each segment's ciphertext, 32 bytes each, in order.
    """

    root: Cid
    plaintext_bytes: int
    digests: bytes

    def __post_init__(self) -> None:
        if len(self.digests) != DIGEST_BYTES * self.plan.count:
            raise ValueError("a rendition lists one digest for each of its segments")

    @property
    def plan(self) -> SegmentPlan:
        """The cut into segments."""
        return SegmentPlan(self.plaintext_bytes)

    def digest(self, index: int) -> bytes:
        """Return the sha2-256 of segment ``index``; IndexError outside."""
        if not 0 <= index * DIGEST_BYTES < len(self.digests):
            raise IndexError(index)
        return self.digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]

    def cid(self, index: int) -> Cid:
        """Return the CID of segment ``index``, a raw block; IndexError outside."""
        return cid_from_digest(self.digest(index))
