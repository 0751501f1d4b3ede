"""A person at a terminal: a command on a pseudo-terminal of its own, and what is typed there."""

from __future__ import annotations

import errno
import os
import pty
import select
import signal
import time
from collections.abc import Mapping, Sequence

TYPED_S = 30.0
READ_BYTES = 4096


def at_a_terminal(
    command: Sequence[str], dialogue: Sequence[tuple[str, str]], *, env: Mapping[str, str]
) -> tuple[int, str]:
    """Run a command on a new terminal and answer its questions.

    Args:
        command: program and arguments.
        dialogue: (what the command asks, what is typed then), in order.
        env: its environment.

    Returns:
        Exit code and everything that the terminal showed.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], list(command), dict(env))
    shown, code = "", None
    try:
        for question, typed in dialogue:
            shown = _read_until(terminal, shown, question)
            os.write(terminal, f"{typed}\n".encode())
        shown = _read_until(terminal, shown, None)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(terminal)
        if code is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return code, shown


def _read_until(terminal: int, shown: str, text: str | None) -> str:
    """Return what was shown once ``text`` follows what was shown before; to the end for None."""
    begin, deadline_s = len(shown), time.monotonic() + TYPED_S
    while text is None or text not in shown[begin:]:
        left_s = deadline_s - time.monotonic()
        assert left_s > 0, f"{text!r} was not asked: {shown}"
        if not select.select([terminal], [], [], left_s)[0]:
            continue
        try:
            data = os.read(terminal, READ_BYTES)
        except OSError as err:
            if err.errno != errno.EIO:  # how Linux says that the other side is closed
                raise
            data = b""
        if not data:
            assert text is None, f"{text!r} was not asked: {shown}"
            return shown
        shown += data.decode(errors="replace")
    return shown
