"""`marina release export` and `import`: a release as one file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cli.api import Daemon
from cli.console import Console, clean, counted, human_bytes

NOT_WHOLE = 8


def configure_car(actions: Any) -> None:
    """Declare both actions."""
    export = actions.add_parser(
        "export", help="write a whole release into a CAR file, as IPFS programs read it"
    )
    export.add_argument("id")
    export.add_argument("file", type=Path)
    export.add_argument("--force", action="store_true", help="a file that is there gives way")
    bring = actions.add_parser("import", help="bring in the release of a CAR file and keep it")
    bring.add_argument("file", type=Path)


def run_car(daemon: Daemon, args: argparse.Namespace, console: Console) -> int:
    """Run one of them; the daemon reads and writes the file."""
    file = str(args.file.expanduser().absolute())
    if args.action == "export":
        body: dict[str, object] = {"file": file, "force": args.force}
        facts = _watch(daemon, console, f"/api/v1/releases/{args.id}/export", body, "Writing")
        size = human_bytes(float(facts["bytes"]))
        console.result(
            facts, f"{clean(file)}: {counted(facts['blocks'], 'block')}, {size}, root {facts['root']}"
        )
        return 0
    facts = _watch(daemon, console, "/api/v1/car", {"file": file}, "Reading")
    lines = [f"{clean(facts['title'])}: {counted(facts['tracks'], 'track')}, {facts['release']}"]
    lines += [
        f"left out: {each['block']} at byte {each['offset']}: {clean(each['why'])}"
        for each in facts["faults"]
    ]
    if facts["error"]:
        lines.append(clean(facts["error"]))
    if facts["missing"]:
        lines.append(
            f"{counted(facts['missing'], 'block')} are not in the file: run 'marina pin add {facts['cid']}'"
        )
    console.result(facts, lines)
    return NOT_WHOLE if facts["missing"] else 0


def _watch(
    daemon: Daemon, console: Console, path: str, body: dict[str, object], title: str
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    with console.progress(title) as progress:
        for event in daemon.stream(path, body):
            if event["event"] == "progress":
                progress.update(event)
            else:
                result = event
    return result
