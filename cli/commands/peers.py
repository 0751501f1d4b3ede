"""marina peers: who is connected; connect, ban, unban."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console, clean, human_age, human_bytes
from marina.errors import UsageError

BAN_S_MIN, BAN_S_MAX = 60, 365 * 86_400
_UNITS_S = {"m": 60, "h": 3600, "d": 86400}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands; none lists."""
    parser.add_argument("--sort", choices=("score", "rate"), default="score")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    connect = actions.add_parser("connect", help="dial an address that ends in /p2p/PEER, or a link")
    connect.add_argument("address")
    ban = actions.add_parser("ban", help="refuse a peer")
    ban.add_argument("peer")
    ban.add_argument("--for", dest="span", default="24h", help="30m, 24h, 7d (default 24h)")
    ban.add_argument("--reason", default="")
    unban = actions.add_parser("unban", help="let a peer in again")
    unban.add_argument("peer")


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one of the actions."""
    daemon = Daemon(console)
    if args.action == "connect":
        facts = daemon.post("/api/v1/peers/connect", {"address": args.address})
        console.result(facts, f"Connected to {facts['peer']}.")
    elif args.action == "ban":
        body = {"peer": args.peer, "seconds": _seconds(args.span), "reason": args.reason}
        facts = daemon.post("/api/v1/peers/ban", body)
        console.result(facts, f"Banned {facts['peer']} for {args.span}.")
    elif args.action == "unban":
        facts = daemon.post("/api/v1/peers/unban", {"peer": args.peer})
        console.result(facts, f"{facts['peer']} may connect again.")
    else:
        return _list(daemon, args, console)
    return 0


def _list(daemon: Daemon, args: argparse.Namespace, console: Console) -> int:
    facts = daemon.get("/api/v1/peers", sort=args.sort)
    rows = [
        (
            each["peer"],
            clean(each["address"]),
            f"{each['score']:.2f}",
            human_bytes(each["bytes_per_s"]) + "/s",
            "–" if each["rtt_ms"] is None else f"{each['rtt_ms']} ms",
            f"banned for {human_age(each['bannedForS'])}" if each["banned"] else "",
        )
        for each in facts["items"]
    ]
    lines = console.table(("peer", "address", "score", "rate", "rtt", ""), rows) if rows else facts["hint"]
    console.result(facts, lines)
    return 0


def _seconds(text: str) -> int:
    unit = _UNITS_S.get(text[-1:])
    if unit is None or not (text[:-1].isascii() and text[:-1].isdigit()):
        raise UsageError(f"{text!r} is no span of time: write 30m, 24h or 7d")
    span_s = int(text[:-1][:9]) * unit
    if not BAN_S_MIN <= span_s <= BAN_S_MAX:
        raise UsageError(f"--for {text}: a ban lasts from 1m to 365d")
    return span_s
