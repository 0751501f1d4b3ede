"""One listening session: a rendition, its key, a fetcher, and the plaintext that players read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from marina.errors import DamagedError, LicenceNeededError
from marina.ids import PeerId
from storage.content.segments import SegmentOpener
from storage.content.track import Rendition, TrackManifest
from streaming.fetcher import RenditionFetcher
from streaming.playhead import Playhead

BLOCK_BYTES = 256 * 1024
_DECODED_BYTES = 4 * 1024 * 1024
_FIRST_SOUND_MS = 200
"""What counts as sound: 0.2 s of decodable audio (design, architecture §13)."""
_HEAD_BYTES = 16 * 1024
"""A decoder needs its headers before the first sample (performance.md §6: 16 KiB for Opus and MP3)."""


class PlaySession:
    """Plays one rendition of one track; ranges may be read by several requests at once.

    Attributes:
        ends_s: moment of trio's clock at which the licence ends, None for music without one. From then on
            nothing is decrypted, and the key is forgotten (design, security §1.8 "Expiry").
    """

    def __init__(
        self, *, session_id: bytes, track: TrackManifest, rendition: Rendition, opener: SegmentOpener,
        fetcher: RenditionFetcher, ends_s: float | None = None,
    ) -> None:  # fmt: skip
        self.ends_s = ends_s
        self.session_id = session_id
        self.track = track
        self.rendition = rendition
        self.fetcher = fetcher
        self.used_s = trio.current_time()
        self.prepared_s = 0.0
        self._first_read_s: float | None = None
        self._opening: int | None = None
        self.first_sound_s: float | None = None
        self._playhead = Playhead(size_bytes=self.size_bytes, bytes_per_s=self.bytes_per_s)
        self._opener: SegmentOpener | None = opener
        self._decoded: OrderedDict[int, bytes] = OrderedDict()
        self._decoded_bytes = 0
        self._from_start = 0

    @property
    def size_bytes(self) -> int:
        """Length of the plaintext."""
        return self.rendition.layout.plaintext_bytes

    @property
    def is_read(self) -> bool:
        """Whether a player ever asked for its sound."""
        return self._first_read_s is not None

    @property
    def bytes_per_s(self) -> float:
        """Pace at which a player reads."""
        return max(1000.0, self.rendition.bitrate_bps / 8)

    @property
    def playhead_byte(self) -> int:
        """The byte that a listener probably hears now."""
        return self._playhead.byte_at(trio.current_time())

    def begin(self, prepared_s: float) -> None:
        """Fetch the beginning at once, before a player asks for it.

        Args:
            prepared_s: how long it took from the listener's request to here.
        """
        self.prepared_s = prepared_s
        self._opening = self.fetcher.open_cursor(0, self.bytes_per_s)

    def segments(self) -> list[dict[str, object]]:
        """Return, for the waveform, runs of segments by where they came from.

        Each is ``{"from": 0..1, "to": 0..1, "peer": id or "local"}``, shares of the file's length.
        """
        plan = self.rendition.layout.plan
        missing = set(self.fetcher.missing())
        runs: list[dict[str, object]] = []
        for index in range(plan.count):
            if index in missing:
                continue
            span = plan.plaintext(index)
            peer: PeerId | str = self.fetcher.stats.served_by.get(index, "local")
            start, end = span.start / self.size_bytes, span.end / self.size_bytes
            if runs and runs[-1]["peer"] == peer and runs[-1]["to"] == start:
                runs[-1]["to"] = end
            else:
                runs.append({"from": start, "to": end, "peer": peer})
        return runs

    @contextmanager
    def reading(self, start: int) -> Iterator[Reader]:
        """Give a reader that starts at a plaintext byte; the scheduler follows it."""
        plan = self.rendition.layout.plan
        if self._first_read_s is None:
            self._first_read_s = trio.current_time()
        if self._opening is not None:
            self.fetcher.close_cursor(self._opening)
            self._opening = None
        cursor = self.fetcher.open_cursor(plan.index_at(start), self.bytes_per_s)
        try:
            yield Reader(self, cursor)
        finally:
            self.fetcher.close_cursor(cursor)

    def end_licence(self) -> None:
        """Forget the key and what it opened: nothing more is decrypted in this session."""
        self.ends_s = float("-inf")
        self._opener = None
        self._decoded.clear()
        self._decoded_bytes = 0

    @property
    def is_licensed(self) -> bool:
        """Whether the key may still be used."""
        if self.ends_s is not None and trio.current_time() >= self.ends_s:
            self.end_licence()
        return self._opener is not None

    async def plaintext(self, index: int) -> bytes:
        """Return a decrypted segment.

        Raises:
            DamagedError: the publisher sealed something else.
            LicenceNeededError: the licence has ended.
        """
        self._licensed_opener()
        found = self._decoded.get(index)
        if found is not None:
            self._decoded.move_to_end(index)
            return found
        ciphertext = await self.fetcher.segment(index)
        opener = self._licensed_opener()
        data = await trio.to_thread.run_sync(opener.open_segment, index, ciphertext)
        if len(data) != self.rendition.layout.plan.plaintext(index).length:
            raise DamagedError(f"segment {index} has another length than its manifest says")
        if index not in self._decoded:
            self._decoded[index] = data
            self._decoded_bytes += len(data)
        while self._decoded_bytes > _DECODED_BYTES:
            _, dropped = self._decoded.popitem(last=False)
            self._decoded_bytes -= len(dropped)
        return data

    def _licensed_opener(self) -> SegmentOpener:
        if not self.is_licensed or self._opener is None:
            raise LicenceNeededError(
                "the licence to this track has ended: extend it with 'marina renew', or buy it again"
            )
        return self._opener

    def delivered(self, start: int, length: int) -> None:
        """Count bytes that a player took; the first run from the start is the first sound."""
        now_s = trio.current_time()
        self.used_s = now_s
        self._playhead.read(start, length, now_s)
        if start <= self._from_start:
            self._from_start = max(self._from_start, start + length)
        enough = min(self.size_bytes, _HEAD_BYTES + self.bytes_per_s * _FIRST_SOUND_MS / 1000)
        if self.first_sound_s is None and self._from_start >= enough:
            # The time that a player took between getting the address and using it is the player's.
            self.first_sound_s = self.prepared_s + now_s - (self._first_read_s or now_s)


class Reader:
    """One request's way through the plaintext."""

    def __init__(self, session: PlaySession, cursor: int) -> None:
        self._session = session
        self._cursor = cursor

    async def read(self, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` to the end of its segment, or to ``end`` if that is nearer.

        Raises:
            NobodyHasItError: no peer has the segment.
            DamagedError: it does not decrypt.
        """
        session = self._session
        plan = session.rendition.layout.plan
        index = plan.index_at(start)
        session.fetcher.move_cursor(self._cursor, index, session.bytes_per_s)
        span = plan.plaintext(index)
        data = await session.plaintext(index)
        return data[start - span.start : min(end, span.end) - span.start]
