"""What commands print: results on stdout, progress and hints on stderr, JSON when asked."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from marina.errors import MarinaError

PLAIN_PROGRESS_EVERY_S = 5.0
NAMES = frozenset(
    ("track", "artist", "release", "what", "why", "address", "peer", "value", "root", "scopes", "name")
)
NAME_COLUMNS_MIN = 8
_GAP = "  "
_CLEAR_SCREEN = "\x1b[H\x1b[2J"
_ERASE_TO_END = "\x1b[K"


class Console:
    """One command's input options and output streams."""

    def __init__(
        self,
        *,
        home: Path,
        is_json: bool = False,
        is_quiet: bool = False,
        is_verbose: bool = False,
        has_color: bool = True,
        timeout_s: float | None = None,
        is_offline: bool = False,
    ) -> None:
        self.home = home
        self.is_json = is_json
        self.is_quiet = is_quiet
        self.is_verbose = is_verbose
        self.has_color = has_color and "NO_COLOR" not in os.environ
        self.timeout_s = timeout_s
        self.is_offline = is_offline

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> Console:
        """Return the console that the shared options ask for."""
        home = getattr(args, "home", None) or os.environ.get("MARINA_HOME") or "~/.marina"
        return cls(
            home=Path(home).expanduser(),
            is_json=getattr(args, "json", False),
            is_quiet=getattr(args, "quiet", False),
            is_verbose=getattr(args, "verbose", False),
            has_color=not getattr(args, "no_color", False),
            timeout_s=getattr(args, "timeout", None),
            is_offline=getattr(args, "offline", False),
        )

    @staticmethod
    def default_home() -> Path:
        """Return the home that is meant when none is named."""
        return Path("~/.marina").expanduser()

    def result(self, data: object, text: str | Iterable[str]) -> None:
        """Print a command's result: ``data`` as JSON, or the text for people."""
        if self.is_json:
            sys.stdout.write(json.dumps(data, ensure_ascii=False) + "\n")
        else:
            lines = [text] if isinstance(text, str) else text
            sys.stdout.writelines(line + "\n" for line in lines)
        sys.stdout.flush()

    def clear(self) -> None:
        """Begin at the top of an empty screen, where the output is a terminal."""
        if sys.stdout.isatty() and not self.is_json:
            sys.stdout.write(_CLEAR_SCREEN)

    def hint(self, text: str) -> None:
        """Print a remark for people on stderr."""
        if not self.is_quiet and not self.is_json:
            sys.stderr.write(text + "\n")

    def fail(self, err: MarinaError) -> None:
        """Print an error: one sentence for people, one object for programs."""
        if self.is_json:
            error = {"code": err.code, "message": str(err), "exitCode": err.exit_code}
            sys.stdout.write(json.dumps({"error": error}, ensure_ascii=False) + "\n")
        else:
            sys.stderr.write(f"marina: {err}\n")

    def table(
        self, headings: Sequence[str], rows: Iterable[Sequence[object]], *, indent: str = ""
    ) -> list[str]:
        """Return the lines of a table that fit the terminal, if there is one.

        Names give way first; numbers, states and ids, which are typed or compared, stay whole.
        """
        from rich.cells import cell_len

        texts = [[heading.upper() for heading in headings], *([str(cell) for cell in row] for row in rows)]
        widths = [max(map(cell_len, column)) for column in zip(*texts, strict=True)]
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        if columns is not None:
            _shrink(widths, headings, columns - len(indent) - len(_GAP) * (len(widths) - 1))
        lines = [
            indent
            + _GAP.join(_padded(cell, width) for cell, width in zip(cells, widths, strict=True)).rstrip()
            for cells in texts
        ]
        return lines if columns is None else [fitted(line, columns) for line in lines]

    def ask(self, question: str) -> bool:
        """Return whether the person at the terminal says yes; no terminal means no."""
        if not sys.stdin.isatty():
            return False
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    @contextmanager
    def progress(self, operation: str) -> Iterator[Progress]:
        """Show progress while the block runs: a bar on a terminal, a line every 5 s elsewhere."""
        progress = Progress(self, operation)
        try:
            yield progress
        finally:
            progress.close()


class Progress:
    """Progress of one operation, on stderr (people) or as NDJSON on stdout (programs)."""

    def __init__(self, console: Console, operation: str) -> None:
        self._console = console
        self._operation = operation
        self._last_s = time.monotonic()
        self._is_tty = sys.stderr.isatty() and not console.is_json and not console.is_quiet
        self._is_shown = False

    def update(self, event: dict[str, object]) -> None:
        """Show a progress event with ``done``, ``total``, ``unit`` and perhaps ``note``."""
        if self._console.is_json:
            sys.stdout.write(json.dumps({"event": "progress", "op": self._operation, **event}) + "\n")
            sys.stdout.flush()
            return
        if self._console.is_quiet:
            return
        now_s = time.monotonic()
        line = self._line(event)
        if self._is_tty:
            # One column short of the edge: a line that wraps cannot be written over.
            line = fitted(line, shutil.get_terminal_size().columns - 1)
            sys.stderr.write("\r" + line + _ERASE_TO_END)
            self._is_shown = True
            sys.stderr.flush()
        elif now_s - self._last_s >= PLAIN_PROGRESS_EVERY_S:
            sys.stderr.write(line + "\n")
            self._last_s = now_s

    def close(self) -> None:
        """End the bar's line."""
        if self._is_shown:
            sys.stderr.write("\n")

    def _line(self, event: dict[str, object]) -> str:
        done, total = _number(event.get("done")), _number(event.get("total"))
        share = min(1.0, done / total) if total else 0.0
        filled = round(share * 20)
        bar = "█" * filled + "░" * (20 - filled)
        note = clean(event.get("note") or "")
        unit = event.get("unit")
        counts = f"{human_bytes(done)} of {human_bytes(total)}" if unit == "bytes" else f"{done:g}/{total:g}"
        return f"{self._operation:<12} {bar} {counts}  {note}"


def _shrink(widths: list[int], headings: Sequence[str], room: int) -> None:
    """Take columns from the widest name until the table fits or no name can give any more."""
    names = [number for number, heading in enumerate(headings) if heading in NAMES]
    while names and sum(widths) > room:
        widest = max(names, key=widths.__getitem__)
        if widths[widest] <= NAME_COLUMNS_MIN:
            return
        widths[widest] -= 1


def _padded(text: str, columns: int) -> str:
    from rich.cells import cell_len

    text = fitted(text, columns)
    return text + " " * (columns - cell_len(text))


def fitted(text: str, columns: int) -> str:
    """Return a line cut to a terminal's columns; wide characters, like CJK, take two."""
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= columns else set_cell_size(text, max(0, columns - 1)) + "…"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: ``1 peer``, ``2 peers``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def human_bytes(count: float) -> str:
    """Return a size as people read it: ``1.4 MB`` (powers of ten)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def human_time(duration_ms: float) -> str:
    """Return a track length as ``3:07``."""
    seconds = int(duration_ms / 1000)
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def human_age(seconds: float) -> str:
    """Return a span of time roughly: ``2 h 05 m``."""
    seconds = int(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} m"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02} m"
    return f"{seconds // 86400} d {seconds % 86400 // 3600:02} h"


def human_date(unix_s: int) -> str:
    """Return a day as ``2026-12-22``, a dash for 0."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d") if unix_s else "–"


def clean(text: object) -> str:
    """Return text from the network without characters that could drive the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
