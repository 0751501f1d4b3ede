"""marina earnings: what an account's music has earned, and what it may withdraw."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import NoReturn

from cli.api import Daemon
from cli.console import Console, clean

_WAIT_S = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--account", metavar="NAME", help="which account (default: the one that pays)")
    parser.add_argument(
        "--follow", action="store_true", help="a line for each sale as it arrives, until Ctrl-C"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Show the earnings."""
    daemon = Daemon(console)
    whose = {"account": args.account} if args.account else {}
    facts = daemon.get("/api/v1/earnings", **whose)
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
    if args.follow:
        _follow(daemon, console, whose)
    return 0


def _follow(daemon: Daemon, console: Console, whose: Mapping[str, str]) -> NoReturn:
    """Print each sale as it arrives."""
    position = daemon.get("/api/v1/earnings/sales", **whose)["position"]
    while True:
        found = daemon.get("/api/v1/earnings/sales", after=position, wait_s=_WAIT_S, **whose)
        for each in found["items"]:
            title, buyer = clean(each["title"]), each["licensee"]
            console.result(each, f"+ {each['net']}  “{title}” for {buyer}, block {each['block']}")
        position = found["position"]
