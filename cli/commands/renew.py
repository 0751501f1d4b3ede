"""marina renew: extend a licence that runs still."""

from __future__ import annotations

import argparse

from cli.commands.buy import add_offer_options, purchase
from cli.console import Console
from cli.spend import add_spend_options


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("id", help="track, release or link")
    add_offer_options(parser)
    add_spend_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Extend after a question."""
    return purchase(args, console, to=None, is_renewal=True)
