"""marina get: fetch a whole track or release, and save it as files if asked."""

from __future__ import annotations

import argparse
from pathlib import Path

from cli.api import Daemon
from cli.console import Console, clean, counted, human_bytes
from cli.sound_file import check_free
from marina.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("id", help="number of the last find, id, unique prefix, or marina: link")
    parser.add_argument("--quality", choices=("low", "high", "original", "auto"), default="original")
    parser.add_argument(
        "--save", type=Path, metavar="FILE", help="write the decrypted audio of one track to a file"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Fetch everything that is not here yet; resumable."""
    daemon = Daemon(console)
    if args.save:
        check_free(args.save)
    result: dict[str, object] = {}
    with console.progress("Fetching") as progress:
        for event in daemon.stream("/api/v1/get", {"target": args.id, "quality": args.quality}):
            if event["event"] == "progress":
                progress.update(event)
            else:
                result = event
    if args.save:
        _save(daemon, args, result)
    tracks, size = counted(int(str(result["tracks"])), "track"), human_bytes(float(str(result["bytes"])))
    saved = f" Saved as {clean(args.save)}." if args.save else ""
    console.result(result, f"{tracks} here, {size} fetched.{saved}")
    return 0


def _save(daemon: Daemon, args: argparse.Namespace, result: dict[str, object]) -> None:
    if result.get("tracks") != 1:
        raise UsageError("--save takes one track; give a track's id")
    session = daemon.post("/api/v1/play", {"target": args.id, "quality": args.quality})
    partial = args.save.with_name(args.save.name + ".part")
    with partial.open("wb") as out:
        for chunk in daemon.download(session["stream_url"]):
            out.write(chunk)
    partial.rename(args.save)
