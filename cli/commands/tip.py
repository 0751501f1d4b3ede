"""marina tip: give to whoever earns from a track or release; no fee is taken."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console
from cli.spend import add_spend_options, spend


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("id", help="track, release or link")
    parser.add_argument("amount", help="like 0.01ETH")
    add_spend_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Give after a question."""
    spend(Daemon(console), console, args, "/api/v1/market/tip", {"target": args.id, "amount": args.amount})
    return 0
