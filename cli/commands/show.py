"""marina show: all about one track or release."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console, clean, human_bytes, human_time


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("id", help="number of the last find, id or unique prefix of a track or release")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the facts, renditions and health of a track, or the tracks of a release."""
    facts = Daemon(console).get(f"/api/v1/show/{args.id}")
    console.result(facts, _release(facts, console) if facts["kind"] == "release" else _track(facts, console))
    return 0


def _track(facts: dict, console: Console) -> list[str]:  # type: ignore[type-arg]
    lines = [
        f"{clean(facts['title'])} — {clean(facts['artist'])}   {human_time(facts['duration_ms'])}",
        f"  id        {facts['id']}",
        f"  release   {facts['release']} {clean(facts['album'])}",
        f"  licence   {clean(facts['licence'])}",
        f"  seeders   {facts['seeders']}",
    ]
    if facts["tags"]:
        lines.append("  tags      " + ", ".join(clean(tag) for tag in facts["tags"]))
    rows = [
        (
            each["tier"],
            each["codec"],
            f"{each['bitrate_bps'] // 1000} kbit/s",
            human_bytes(each["bytes"]),
            f"{each['here']}/{each['segments']}",
            f"{each['available']}/{each['segments']}",
            "here" if each["eta_s"] == 0 else "?" if each["eta_s"] is None else f"{each['eta_s']:.0f} s",
        )
        for each in facts["renditions"]
    ]
    headings = ("tier", "codec", "rate", "size", "here", "in swarm", "eta")
    return [*lines, *console.table(headings, rows, indent="  ")]


def _release(facts: dict, console: Console) -> list[str]:  # type: ignore[type-arg]
    state = "withdrawn" if facts["withdrawn"] else f"version {facts['version']}"
    rows = [
        (i, clean(track["title"]), clean(track["artist"]), human_time(track["duration_ms"]), track["id"][:14])
        for i, track in enumerate(facts["tracks"], 1)
    ]
    return [
        f"{clean(facts['title'])} — {clean(facts['artist'])}   {state}",
        f"  id        {facts['id']}",
        f"  cid       {facts['cid']}",
        f"  account   {facts['account']}",
        f"  seeders   {facts['seeders']}",
        *console.table(("#", "track", "artist", "len", "id"), rows, indent="  "),
    ]
