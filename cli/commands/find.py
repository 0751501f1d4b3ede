"""marina find: search this node and the swarm."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console, clean, counted, human_time
from cli.main import NEGATION


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "query", nargs="+", help='words, "phrases", artist:ada year:2019..2024 -tag:live licence:cc*'
    )
    parser.add_argument("-n", "--limit", type=int, default=20, help="at most this many results (default 20)")
    parser.add_argument("--local", action="store_true", help="do not ask the swarm")


def run(args: argparse.Namespace, console: Console) -> int:
    """Search and print numbered results, so that ``marina play 2`` works next."""
    ask_swarm = not (args.local or console.is_offline)
    words = [word.replace(NEGATION, "-", 1) for word in args.query]
    query = " ".join(words)
    found = Daemon(console).get("/api/v1/search", q=query, limit=args.limit, swarm=int(ask_swarm))
    items = found["items"]
    rows = [
        (
            item["n"],
            clean(item["title"]),
            clean(item["artist"]),
            human_time(item["duration_ms"]),
            clean(item["licence"]),
            "–" if item["seeders"] is None else item["seeders"],
            item["where"],
            item["id"][:14],
        )
        for item in items
    ]
    if not items:
        console.result(found, f"Nothing found for {query}. {found.get('hint', '')}".rstrip())
        return 4
    lines = console.table(("#", "track", "artist", "len", "licence", "seeders", "where", "id"), rows)
    console.result(found, lines)
    sources = found["sources"]
    console.hint(
        f"local {sources['local']} in {found['took_ms']} ms · swarm {sources['swarm']} in "
        f"{sources['swarm_ms']} ms from {counted(sources['peers'], 'peer')}"
    )
    return 0
