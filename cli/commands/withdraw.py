"""marina withdraw: divide what your music has earned and be paid."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console
from cli.spend import add_spend_options, spend


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_spend_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Be paid after a question."""
    done = spend(Daemon(console), console, args, "/api/v1/market/withdraw", {})
    if done["quote"]["later"]:
        console.hint(f"{done['quote']['later']} more wait to be divided: run it again.")
    return 0
