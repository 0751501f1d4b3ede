"""marina status: what the node is doing, once or again and again."""

from __future__ import annotations

import argparse
import time

from cli.api import Daemon
from cli.console import Console, clean, counted, human_age, human_bytes
from marina.errors import EXIT_INTERRUPTED

WATCH_EVERY_S = 2.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--watch", action="store_true", help="every 2 s until interrupted")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the status; exit 8 when a component is not healthy."""
    daemon = Daemon(console)
    if args.watch:
        return _watch(daemon, console)
    facts = daemon.get("/api/v1/status")
    console.result(facts, _lines(facts))
    return 0 if facts["health"] == "healthy" else 8


def _watch(daemon: Daemon, console: Console) -> int:
    try:
        while True:
            facts = daemon.get("/api/v1/status")
            console.clear()
            console.result(facts, _lines(facts))
            time.sleep(WATCH_EVERY_S)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED  # the way to end it, so there is nothing to say


def _lines(facts: dict) -> list[str]:  # type: ignore[type-arg]
    swarm, storage, library = facts["swarm"], facts["storage"], facts["library"]
    age, received, sent = (
        human_age(facts["uptime_s"]),
        human_bytes(swarm["bytes_in"]),
        human_bytes(swarm["bytes_out"]),
    )
    lines = [
        "   ".join(
            (f"node     {facts['peer']}", f"up {age}", f"v{facts['version']}", facts["health"].upper())
        ),
        "   ".join((f"swarm    {counted(swarm['peers'], 'peer')}", f"{received} in", f"{sent} out")),
        f"storage  {human_bytes(storage['bytes_used'])} of {human_bytes(storage['bytes_quota'])}",
        f"provide  {clean(facts['provide']['text'])}",
        f"library  {counted(library['tracks'], 'track')}   {counted(library['releases'], 'release')}",
        f"chain    {clean(facts['chain'])}",
        f"vault    {'locked' if facts['locked'] else 'unlocked'}",
    ]
    if swarm["hint"]:
        lines.append(f"  → {swarm['hint']}")
    return lines
