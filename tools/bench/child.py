"""Child processes that answer one JSON line to each JSON line, and never outlive the benchmark.

A child is ``python -m tools.bench.<module>``; it calls ``serve`` with a function that turns a message
into a reply. The kernel kills it when its parent dies, and ``Child`` ends it on every path.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
ANSWER_TIMEOUT_S = 180.0
_ENDING_S = 10.0
_LINE_BYTES_MAX = 16 * 1024 * 1024
_PR_SET_PDEATHSIG = 1

Message = dict[str, Any]


class ChildError(Exception):
    """A child process failed, or did not answer in time."""


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies."""
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0 or os.getppid() != parent:
        raise SystemExit("this child process has no parent to end with")


def take_stdout() -> int:
    """Return a descriptor for replies; what anything else prints goes to standard error from now on."""
    replies = os.dup(1)
    os.dup2(2, 1)
    return replies


def reply(descriptor: int, message: Message) -> None:
    """Write one reply."""
    os.write(descriptor, json.dumps(message).encode() + b"\n")


def serve(answer: Callable[[Message], Message]) -> None:
    """Answer each line of standard input until it ends; a failure is the answer and the end."""
    die_with_parent()
    replies = take_stdout()
    for line in sys.stdin:
        try:
            reply(replies, answer(json.loads(line)))
        except Exception as err:
            reply(replies, {"error": f"{type(err).__name__}: {err}"})
            raise


class Child:
    """The parent's end of a child process."""

    def __init__(self, *command: str) -> None:
        """Start a program that answers lines, or a module of this package if there is but its name."""
        words = [sys.executable, "-m", *command] if len(command) == 1 else command
        self._process = subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._buffer = bytearray()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ask(self, timeout_s: float = ANSWER_TIMEOUT_S, **message: Any) -> Message:
        """Send a message and return the reply; blocks.

        Raises:
            ChildError: the child failed, ended or did not answer in time.
        """
        self.tell(**message)
        return self.hear(timeout_s)

    def tell(self, **message: Any) -> None:
        """Send a message; its reply is for ``hear``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    def hear(self, timeout_s: float = ANSWER_TIMEOUT_S) -> Message:
        """Return the next reply; errors as for ``ask``."""
        message: Message = json.loads(self._line(timeout_s))
        if "error" in message:
            raise ChildError(message["error"])
        return message

    def end(self) -> None:
        """End the process: politely, then by force. Idempotent."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self.end()

    def _line(self, timeout_s: float) -> bytes:
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            left_s = deadline - time.monotonic()
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, left_s))
            if not ready:
                raise ChildError(f"no answer within {timeout_s:.0f} s")
            part = os.read(self._process.stdout.fileno(), 65536)
            if not part or len(self._buffer) > _LINE_BYTES_MAX:
                raise ChildError(f"the child process ended with code {self._process.poll()}")
            self._buffer += part
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.end()
        else:
            self.kill()
