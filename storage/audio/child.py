"""The decoder process: warms up, seals itself, then answers jobs until its parent goes away.

Started as ``python -I -m storage.audio.child``; standard input is a Unix socket to the parent, over
which frames (``u32be length ‖ record``) and one read-only file descriptor per job arrive.
"""

from __future__ import annotations

import array
import os
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

from marina.errors import MalformedError
from marina.schema import decode_record, encode_record
from storage.audio.decoder.seal import import_layers, seal
from storage.audio.records import (
    CHUNK_BYTES_MAX,
    FAIL_DAMAGED,
    FAIL_SANDBOX,
    FAIL_TOO_LARGE,
    FRAME_BYTES_MAX,
    KIND_CHUNK,
    KIND_FAILURE,
    KIND_READY,
    KIND_RESULT,
    Job,
    Reply,
)


class ParentGoneError(Exception):
    """The socket is closed: there is nobody left to work for."""


class Channel:
    """Frames to and from the parent, over a blocking socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def send(self, kind: int, *, code: str = "", body: bytes = b"") -> None:
        """Send one reply frame."""
        frame = encode_record(Reply(kind, code, body))
        try:
            self._socket.sendall(len(frame).to_bytes(4) + frame)
        except OSError as err:
            raise ParentGoneError from err

    def receive(self) -> tuple[Job, int]:
        """Return the next job and its descriptor, which the caller closes."""
        head, fds = self._receive_exactly(4)
        size = int.from_bytes(head)
        if size > FRAME_BYTES_MAX:
            raise MalformedError("frame is too long")
        frame, more = self._receive_exactly(size)
        fds += more
        if len(fds) != 1:
            raise MalformedError(f"a job comes with one descriptor, not {len(fds)}")
        return decode_record(Job, frame), fds[0]

    def _receive_exactly(self, size: int) -> tuple[bytes, list[int]]:
        data = bytearray()
        fds = array.array("i")
        while len(data) < size:
            room = socket.CMSG_SPACE(4 * fds.itemsize)
            part, ancillary, _, _ = self._socket.recvmsg(size - len(data), room)
            if not part:
                raise ParentGoneError
            data += part
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        return bytes(data), list(fds)


class ChunkWriter:
    """Collects encoder output into chunks of one frame each."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._pending = bytearray()

    def write(self, data: bytes) -> None:
        """Take bytes; whole chunks go out at once."""
        self._pending += data
        while len(self._pending) >= CHUNK_BYTES_MAX:
            self._channel.send(KIND_CHUNK, body=bytes(self._pending[:CHUNK_BYTES_MAX]))
            del self._pending[:CHUNK_BYTES_MAX]

    def flush(self) -> None:
        """Send what is left."""
        if self._pending:
            self._channel.send(KIND_CHUNK, body=bytes(self._pending))
            self._pending.clear()


Answer = Callable[[Job, int, Callable[[bytes], None]], bytes]


def serve(channel: Channel, answer: Answer, job_error: type[Exception]) -> NoReturn:
    """Answer jobs until the parent is gone (ParentGoneError).

    Args:
        channel: to the parent.
        answer: does a job; see ``decoder.jobs``.
        job_error: what ``answer`` raises about a file, with ``code`` and ``detail``.
    """
    while True:
        job, fd = channel.receive()
        writer = ChunkWriter(channel)
        try:
            body = answer(job, fd, writer.write)
            writer.flush()
        except ParentGoneError:
            raise
        except MemoryError:
            channel.send(
                KIND_FAILURE, code=FAIL_TOO_LARGE, body=b"it needs more memory than a decoder may use"
            )
        except Exception as err:  # noqa: BLE001 - a parser's surprise is a property of the file, and is reported
            code, detail = FAIL_DAMAGED, f"the decoder failed on it ({type(err).__name__})"
            if isinstance(err, job_error):
                code, detail = getattr(err, "code", code), str(err)
            channel.send(KIND_FAILURE, code=code, body=detail.encode())
        else:
            channel.send(KIND_RESULT, body=body)
        finally:
            os.close(fd)


def main(arguments: list[str]) -> int:
    """Run the process; ``arguments`` holds the memory limit in bytes. Return the exit code."""
    channel = Channel(socket.socket(fileno=0))
    try:
        import av.logging

        from storage.audio.decoder.jobs import answer
        from storage.audio.decoder.source import JobError
        from storage.audio.decoder.warmup import warm_up

        av.logging.set_level(None)
        import_layers()
        warm_up()
        confinement = seal(memory_bytes=int(arguments[0]))
    except Exception as err:  # noqa: BLE001 - nobody sees this process's stderr; the parent tells the user
        channel.send(KIND_FAILURE, code=FAIL_SANDBOX, body=f"{type(err).__name__}: {err}".encode()[:300])
        return 1
    channel.send(KIND_READY, body=encode_record(confinement))
    try:
        serve(channel, answer, JobError)
    except ParentGoneError:
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
