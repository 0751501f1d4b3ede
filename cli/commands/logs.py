"""marina logs: the node's log, for people or as it is."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

from cli.console import Console, clean
from cli.start import log_file
from marina.errors import NotFoundError

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-n", "--lines", type=int, default=50, help="how many lines (default 50)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as new lines come")
    parser.add_argument("--level", choices=[each.lower() for each in LEVELS], default="debug")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the end of the log."""
    path = log_file(console)
    if not path.exists():
        raise NotFoundError(f"{console.home} has no log yet: it comes with the first start")
    wanted = LEVELS[LEVELS.index(args.level.upper()) :]
    for line in _lines(path, args.lines, follow=args.follow):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the first of the last lines may be cut by rotation
        if entry.get("level") in wanted:
            console.result(entry, _text(entry))
    return 0


def _lines(path: Path, count: int, *, follow: bool) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from file.readlines()[-count:]
        while follow:
            line = file.readline()
            if line:
                yield line
            else:
                time.sleep(0.25)


def _text(entry: dict[str, object]) -> str:
    context = entry.get("context")
    facts = (
        " ".join(f"{k}={v}" for k, v in context.items() if k != "logger") if isinstance(context, dict) else ""
    )
    lines = [f"{entry['timestamp']} {entry['level']:<7} {clean(entry['message'])} {clean(facts)}".rstrip()]
    if entry.get("stack"):
        lines.append(str(entry["stack"]))
    return "\n".join(lines)
