"""marina device: devices bound to this account."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console, human_date


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="devices that this node knows of")
    actions.add_parser("renew", help="sign this device's binding anew")


def run(args: argparse.Namespace, console: Console) -> int:
    """List or renew."""
    daemon = Daemon(console)
    facts = (
        daemon.get("/api/v1/devices") if args.action == "list" else daemon.post("/api/v1/devices/renew", {})
    )
    rows = [
        (each["peer"], each["scopes"], human_date(each["until"]), each["note"]) for each in facts["items"]
    ]
    console.result(facts, console.table(("device", "may", "until", ""), rows))
    return 0
