"""marina logs: the node's log, for people or as it is."""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from os import fstat
from os.path import samestat
from pathlib import Path
from typing import Any

from cli.console import Console, clean
from cli.start import log_file
from marina.errors import EXIT_INTERRUPTED, NotFoundError, UsageError

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOOK_EVERY_S = 0.25


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-n", "--lines", type=int, default=50, help="how many lines (default 50)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as new lines come, until Ctrl-C")
    parser.add_argument("--level", choices=[each.lower() for each in LEVELS[:4]], default="debug")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the end of the log: the last lines of the wanted level, and with ``-f`` those that come."""
    if args.lines < 0:
        raise UsageError(f"-n {args.lines}: say how many lines, 0 or more")
    path = log_file(console)
    if not path.exists():
        raise NotFoundError(f"{console.home} has no log yet: it comes with the first start")
    wanted = LEVELS[LEVELS.index(args.level.upper()) :]
    follower = Follower(path)
    for entry in deque(_entries(follower.lines(), wanted), maxlen=args.lines):
        console.result(entry, _text(entry))
    try:
        while args.follow:
            for entry in _entries(follower.lines(), wanted):
                console.result(entry, _text(entry))
            time.sleep(LOOK_EVERY_S)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED  # the way to end it, so there is nothing to say
    return 0


class Follower:
    """The lines of a log file from its begin, and later those that came since, also after a rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        self._begun = b""

    def lines(self) -> Iterator[str]:
        """Yield every whole line that was not read yet; one that is still being written comes next time."""
        yield from self._read()
        if self._is_rotated():
            yield from self._read()  # what was written between the last look and the rotation
            with suppress(FileNotFoundError):  # the new one comes with the next line
                file = self._path.open("rb")
                self._file.close()
                self._file, self._begun = file, b""
                yield from self._read()

    def _read(self) -> Iterator[str]:
        for line in self._file:
            if not line.endswith(b"\n"):
                self._begun += line
                return
            yield (self._begun + line).decode(errors="replace")
            self._begun = b""

    def _is_rotated(self) -> bool:
        with suppress(FileNotFoundError):
            return not samestat(self._path.stat(), fstat(self._file.fileno()))
        return True


def _entries(lines: Iterator[str], wanted: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a line that a power cut tore
        if isinstance(entry, dict) and entry.get("level") in wanted:
            yield entry


def _text(entry: dict[str, Any]) -> str:
    context = entry.get("context")
    facts = (
        " ".join(f"{k}={v}" for k, v in context.items() if k != "logger") if isinstance(context, dict) else ""
    )
    lines = [
        f"{entry.get('timestamp')} {entry['level']:<7} {clean(entry.get('message'))} {clean(facts)}".rstrip()
    ]
    if entry.get("stack"):
        lines += [clean(line) for line in str(entry["stack"]).splitlines()]
    return "\n".join(lines)
