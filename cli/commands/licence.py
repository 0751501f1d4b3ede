"""marina licence: what you hold, what was sold, and paying a buyer back."""

from __future__ import annotations

import argparse
from typing import Any

from cli.api import Daemon
from cli.console import Console, clean, human_date
from cli.spend import add_spend_options, spend


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands; none lists."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="the licences of this account")
    sold = actions.add_parser("sold", help="the licences that were sold of a track or release")
    sold.add_argument("id")
    refund = actions.add_parser("refund", help="end a licence that you sold, and pay back what is not used")
    refund.add_argument("licence", help="0x…, as 'marina licence sold' shows it")
    add_spend_options(refund)


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one of the actions."""
    daemon = Daemon(console)
    if args.action == "refund":
        spend(daemon, console, args, "/api/v1/market/refund", {"licence": args.licence})
        return 0
    query = {"target": args.id} if args.action == "sold" else {}
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = daemon.get("/api/v1/licences", limit=200, cursor=cursor, **query)
        items += page["items"]
        cursor = page["nextCursor"] or ""
        if not cursor:
            break
    rows = [
        (clean(each["title"]), _until(each), each["paid"], each["licensee"][:12], each["licence"])
        for each in items
    ]
    none = ["No licences yet. Buy one with: marina buy ID"]
    heads = ("what", "until", "paid", "holder", "licence")
    console.result({"items": items}, console.table(heads, rows) if rows else none)
    return 0


def _until(each: dict[str, Any]) -> str:
    if each["refunded"]:
        return "refunded"
    if each["expires_s"] is None:
        return "for ever"
    return human_date(each["expires_s"]) if each["live"] else "ended"
