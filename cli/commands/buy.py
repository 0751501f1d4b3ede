"""marina buy: a licence to a track or release."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console
from cli.spend import add_spend_options, spend


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("id", help="track, release or link")
    add_offer_options(parser)
    parser.add_argument("--for", dest="to", metavar="ACCOUNT", help="give it to somebody: 0x… or a name")
    add_spend_options(parser)


def add_offer_options(parser: argparse.ArgumentParser) -> None:
    """Add how a term is chosen."""
    parser.add_argument("--term", type=int, metavar="N", help="which offer (marina terms); else the cheapest")
    parser.add_argument("--kind", choices=("stream", "download"), help="only offers of this kind")
    parser.add_argument("--periods", type=int, default=1, metavar="N", help="how many periods (default 1)")
    parser.add_argument(
        "--queue",
        action="store_true",
        help="if the chain does not answer, write it down and pay once it does (marina tx)",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Buy after a question."""
    return purchase(args, console, to=args.to, is_renewal=False)


def purchase(args: argparse.Namespace, console: Console, *, to: str | None, is_renewal: bool) -> int:
    """Buy, give or extend a licence."""
    body = {
        "target": args.id,
        "term": args.term,
        "kind": args.kind,
        "periods": args.periods,
        "to": to,
        "renew": is_renewal,
        "queue": args.queue,
    }
    spend(Daemon(console), console, args, "/api/v1/market/buy", body)
    return 0
