"""marina share: a link and a QR code that need no bootstrap node."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("id", help="number of the last find, id or unique prefix of a track or release")
    parser.add_argument("--no-qr", action="store_true", help="only the link")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the link, then the QR code."""
    facts = Daemon(console).post("/api/v1/share", {"target": args.id})
    lines = [facts["link"]]
    if not args.no_qr:
        lines += ["", facts["qr"]]
    console.result(facts, lines)
    if facts["is_loopback_only"]:
        console.hint(
            "This link names loopback addresses only: it works on this machine. See 'marina doctor'."
        )
    return 0
