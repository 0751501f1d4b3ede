"""marina gateway: serve this node's blocks over HTTP to programs that check their hashes."""

from __future__ import annotations

import argparse
from typing import Any

from cli.api import Daemon
from cli.console import Console, clean, human_bytes


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands; none shows the status."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("status", help="whether it serves, and where")
    enable = actions.add_parser("enable", help="serve it, also after a restart")
    enable.add_argument(
        "--host", help="address to listen on (loopback; 0.0.0.0 for everybody who reaches it)"
    )
    enable.add_argument("--port", type=int, metavar="N", help="TCP port (7788, or a free one)")
    actions.add_parser("disable", help="serve it no longer")


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one of the actions."""
    daemon = Daemon(console)
    if args.action == "enable":
        facts = daemon.post("/api/v1/gateway", {"on": True, "host": args.host, "port": args.port})
    elif args.action == "disable":
        facts = daemon.post("/api/v1/gateway", {"on": False})
    else:
        facts = daemon.get("/api/v1/gateway")
    console.result(facts, _lines(facts))
    return 8 if facts["problem"] else 0


def _lines(facts: dict[str, Any]) -> list[str]:
    if facts["problem"]:
        return [f"The gateway does not serve: {clean(facts['problem'])}"]
    if not facts["on"]:
        return ["The gateway is off. It is switched on with 'marina gateway enable'."]
    rate = f", {human_bytes(facts['bytes_per_s'])}/s" if facts["bytes_per_s"] else ""
    return [
        f"The gateway serves {facts['urls'][0]}/ipfs/CID?format=raw and format=car",
        f"to one network {facts['requests_per_s']:g} requests a second{rate}; only what is on this disk",
    ]
