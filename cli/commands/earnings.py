"""marina earnings: what an account's music has earned, and what it may withdraw."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console, clean


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument("--account", metavar="NAME", help="which account (default: the one that pays)")


def run(args: argparse.Namespace, console: Console) -> int:
    """Show the earnings."""
    facts = Daemon(console).get("/api/v1/earnings", **({"account": args.account} if args.account else {}))
    rows = [
        (clean(each["title"]), f"{each['percent']:g} %", each["total"], each["waiting"])
        for each in facts["items"]
    ]
    lines = (
        list(console.table(("track or release", "part", "earned", "waits"), rows))
        if rows
        else ["Nothing yet."]
    )
    lines += [f"to withdraw: {each['owed']}; withdrawn before: {each['withdrawn']}" for each in facts["owed"]]
    if rows or facts["owed"]:
        lines.append("marina withdraw   divides what waits and pays it out")
    console.result(facts, lines)
    return 0
