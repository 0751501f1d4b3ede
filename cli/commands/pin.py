"""marina pin: keep a release whatever the quota does."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console, clean, human_bytes


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in (("add", "fetch and keep"), ("rm", "no longer keep; it goes when room is needed")):
        action = actions.add_parser(name, help=text)
        action.add_argument("id", help="release or track id, unique prefix, or link")
    actions.add_parser("ls", help="what is kept and why")


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one of the actions."""
    daemon = Daemon(console)
    if args.action == "ls":
        facts = daemon.get("/api/v1/pins")
        rows = [(clean(each["title"]), each["why"], _size(each), each["id"][:14]) for each in facts["items"]]
        console.result(
            facts, console.table(("what", "why", "size", "id"), rows) if rows else "Nothing is pinned."
        )
        return 0
    if args.action == "rm":
        facts = daemon.delete(f"/api/v1/pins/{args.id}")
        console.result(facts, "No longer pinned.")
        return 0
    result: dict[str, object] = {}
    with console.progress("Fetching") as progress:
        for event in daemon.stream("/api/v1/pins", {"target": args.id}):
            if event["event"] == "progress":
                progress.update(event)
            else:
                result = event
    console.result(result, f"Pinned {clean(result.get('title', args.id))}.")
    return 0


def _size(item: dict) -> str:  # type: ignore[type-arg]
    return "incomplete" if item["bytes"] is None else human_bytes(item["bytes"])
