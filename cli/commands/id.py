"""marina id: peer id, account and addresses."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console


def configure(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""
    del parser


def run(args: argparse.Namespace, console: Console) -> int:
    """Print who this node and its owner are."""
    del args
    facts = Daemon(console).get("/api/v1/id")
    addresses = facts["addresses"] or ["not listening"]
    console.result(
        facts,
        [
            f"peer     {facts['peer']}",
            f"account  {facts['account']}",
            *(f"address  {each}" for each in addresses),
        ],
    )
    return 0
