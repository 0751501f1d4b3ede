"""marina join: a new home becomes an operator of a release in one line."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console, clean
from cli.start import ensure_daemon, operator_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("link", help="a marina: link")
    parser.add_argument("--quota", help="disk to lend, like 50GB (default: from the settings)")
    parser.add_argument(
        "--passphrase-fd", type=int, metavar="N", help="read the passphrase from descriptor N"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Create and start the node if needed, offer space, and keep the release."""
    settings = operator_settings(args.quota)
    ensure_daemon(console, passphrase_fd=args.passphrase_fd, settings=settings)
    result: dict[str, object] = {}
    with console.progress("Fetching") as progress:
        for event in Daemon(console).stream("/api/v1/join", {"link": args.link}):
            if event["event"] == "progress":
                progress.update(event)
            else:
                result = event
    console.result(result, f"Keeping {clean(result.get('title', 'the release'))} for the swarm.")
    return 0
