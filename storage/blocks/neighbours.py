"""Where the next segment probably is: behind the last one of the same rendition.

Peers that speak bitswap ask for segments by CID, one after the other; looking each up costs more than
reading it.
"""

from __future__ import annotations

from collections import OrderedDict

from marina.cid import RAW, Cid, codec_of, digest_of
from storage.content.layout import RenditionLayout

_RENDITIONS_MAX = 16
_AHEAD_MAX = 8


class Neighbours:
    """The renditions that were read last, and the segment of each."""

    def __init__(self) -> None:
        self._last: OrderedDict[Cid, tuple[RenditionLayout, int]] = OrderedDict()

    def read(self, layout: RenditionLayout, index: int) -> None:
        """Note that a segment was read."""
        self._last[layout.root] = (layout, index)
        self._last.move_to_end(layout.root)
        if len(self._last) > _RENDITIONS_MAX:
            self._last.popitem(last=False)

    def find(self, cid: Cid) -> tuple[Cid, int] | None:
        """Return (rendition, index) of a segment if it is one of the next eight of one read lately."""
        if codec_of(cid) != RAW:
            return None
        digest = digest_of(cid)
        for root, (layout, last) in reversed(self._last.items()):
            ahead = layout.digests[32 * (last + 1) : 32 * (last + 1 + _AHEAD_MAX)]
            at = ahead.find(digest)
            if at >= 0 and at % 32 == 0:
                return root, last + 1 + at // 32
        return None
