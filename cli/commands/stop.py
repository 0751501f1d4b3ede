"""marina stop: end the daemon of this home."""

from __future__ import annotations

import argparse
import time

from cli.api import Daemon
from cli.console import Console
from marina.errors import NetworkError

STOP_S = 10.0


def configure(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""
    del parser


def run(args: argparse.Namespace, console: Console) -> int:
    """Ask the daemon to stop and wait until it is gone."""
    del args
    daemon = Daemon(console)
    daemon.post("/api/v1/stop", {})
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        if not daemon.is_running():
            console.result({"stopped": True}, "Stopped.")
            return 0
        time.sleep(0.05)
    raise NetworkError(f"the daemon did not stop within {STOP_S:.0f} s: see 'marina logs'")
