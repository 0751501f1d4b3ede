"""marina gift: buy a licence for somebody else."""

from __future__ import annotations

import argparse

from cli.commands.buy import add_offer_options, purchase
from cli.console import Console
from cli.spend import add_spend_options


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("id", help="track, release or link")
    parser.add_argument("to", metavar="ACCOUNT", help="who gets it: 0x… or a name")
    add_offer_options(parser)
    add_spend_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Give after a question."""
    return purchase(args, console, to=args.to, is_renewal=False)
