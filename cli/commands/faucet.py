"""marina faucet: coins of a development chain."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("amount", nargs="?", help="like 5DEV (default 10)")
    parser.add_argument("--account", metavar="NAME", help="which account of this node")


def run(args: argparse.Namespace, console: Console) -> int:
    """Ask the chain for coins."""
    body = {"amount": args.amount, "account": args.account}
    facts = Daemon(console).post("/api/v1/wallet/faucet", body)
    console.result(facts, f"{facts['account']} holds {facts['balance']}.")
    return 0
