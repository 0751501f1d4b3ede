"""From a plaintext file to sealed segments: read, encrypt, hash, hand on; one pass, two buffers.

Synchronous and meant for a worker thread: everything heavy releases the interpreter lock. Spans of
4 MiB keep the Python share small and the memory constant whatever the file's size.
"""

from __future__ import annotations

import hashlib
import os
from typing import Protocol

from marina.errors import DamagedError
from marina.secret import Secret
from storage.content.layout import LARGE_BYTES, SegmentPlan
from storage.content.segments import CipherRun, SegmentSealer

SPAN_BYTES = 4 * 1024 * 1024


class SegmentSink(Protocol):
    """Takes the ciphertext of a rendition from its start to its end."""

    def append(self, data: memoryview) -> None:
        """Store the next bytes; the view is valid only during the call."""
        ...


def seal_file(fd: int, plan: SegmentPlan, run: CipherRun, key: Secret[bytes], sink: SegmentSink) -> bytes:
    """Encrypt a whole file into a sink and return its segment digests, 32 bytes each.

    Args:
        fd: an open regular file; its offset is not used.
        plan: the cut of its bytes.
        run: public facts of this encryption, with a file salt that was never used before.
        key: the content key.
        sink: where the ciphertext goes, in order.

    Raises:
        DamagedError: the file became shorter while it was read.
    """
    sealer = SegmentSealer(run, key, plan.count)
    plain = memoryview(bytearray(SPAN_BYTES))
    sealed = memoryview(bytearray(SPAN_BYTES + LARGE_BYTES))
    digests = bytearray()
    index = 0
    while index < plan.count:
        first, stop = index, _span_end(plan, index)
        start = plan.plaintext(first).start
        length = plan.plaintext(stop - 1).end - start
        _read_exactly(fd, plain[:length], start)
        at = 0
        for index in range(first, stop):
            span = plan.plaintext(index)
            size = plan.ciphertext(index).length
            out = sealed[at : at + size]
            sealer.seal_into(index, plain[span.start - start : span.end - start], out)
            digests += hashlib.sha256(out).digest()
            at += size
        sink.append(sealed[:at])
        index = stop
    return bytes(digests)


def _span_end(plan: SegmentPlan, first: int) -> int:
    """Return the first segment that no longer fits a span starting at segment ``first``."""
    start = plan.plaintext(first).start
    stop = first + 1
    while stop < plan.count and plan.plaintext(stop).end - start <= SPAN_BYTES:
        stop += 1
    return stop


def _read_exactly(fd: int, buffer: memoryview, offset: int) -> None:
    done = 0
    while done < len(buffer):
        count = os.preadv(fd, [buffer[done:]], offset + done)
        if count == 0:
            raise DamagedError("the audio file became shorter while it was read: publish it again")
        done += count
