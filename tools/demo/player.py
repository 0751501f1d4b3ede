"""A player that notices when the sound would break."""

from __future__ import annotations

import threading
import time
from urllib.request import urlopen


class Player(threading.Thread):
    """Reads a stream at the pace of its sound and notes when the next byte came too late."""

    REALTIME_S = 45.0
    START_S = 1.0

    def __init__(self, url: str, bytes_per_s: float, *, expected: int) -> None:
        super().__init__(daemon=True)
        self._url, self._bytes_per_s, self._expected = url, bytes_per_s, expected
        self.late_s = 0.0
        self.heard = threading.Event()
        self.body: bytes | None = None
        self.error: str | None = None

    def run(self) -> None:
        """Play; the first 45 s at the pace of the sound, the rest as fast as it comes."""
        body = bytearray()
        try:
            with urlopen(self._url, timeout=30) as reply:
                started = None
                while len(body) < self._expected:
                    part = reply.read1(16384)
                    if not part:
                        break
                    now = time.monotonic()
                    started = started or now + self.START_S
                    due = started + len(body) / self._bytes_per_s
                    if due - started < self.REALTIME_S:
                        self.late_s = max(self.late_s, now - due)
                        body += part
                        ahead = started + len(body) / self._bytes_per_s - now - 5.0
                        time.sleep(max(0.0, ahead))  # a player buffers a few seconds, not the whole song
                    else:
                        self.heard.set()
                        body += part
            self.body = bytes(body)
        except OSError as err:
            self.error = str(err)
        finally:
            self.heard.set()
