"""marina tx: the transactions that this node made, and how each stands."""

from __future__ import annotations

import argparse
import sys

from cli.api import Daemon
from cli.console import Console, clean, human_date

_PAGE = 100


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands; none lists."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    every = actions.add_parser("list", help="the newest first")
    for each in (parser, every):
        each.add_argument(
            "--what", default="", metavar="KIND", help="only this kind, like licence or dao.vote"
        )
        each.add_argument("--csv", action="store_true", help="as comma-separated values")
        each.add_argument("-n", "--limit", type=int, default=50, metavar="N", help="at most N (default 50)")
    show = actions.add_parser("show", help="one transaction")
    show.add_argument("id", help="the beginning of its id or hash")
    wait = actions.add_parser("wait", help="wait until it is confirmed")
    wait.add_argument("id")
    cancel = actions.add_parser("cancel", help="try to take it back before it is mined; costs a fee")
    cancel.add_argument("id")


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one of the actions."""
    daemon = Daemon(console)
    if args.action in ("show", "wait"):
        return _show(daemon, console, args)
    if args.action == "cancel":
        facts = daemon.post(f"/api/v1/transactions/{args.id}/cancel", {})
        console.result(
            facts, f"{facts['id'][:12]} {facts['status']}: the chain decides which of the two it takes."
        )
        return 0
    if args.csv:
        query = f"?format=csv&limit={min(args.limit, 500)}&what={args.what}"
        for part in daemon.download("/api/v1/transactions" + query):
            sys.stdout.write(part.decode())
        return 0
    return _list(daemon, console, args)


def _list(daemon: Daemon, console: Console, args: argparse.Namespace) -> int:
    items: list[dict[str, object]] = []
    cursor = ""
    while len(items) < args.limit:
        page = daemon.get("/api/v1/transactions", limit=_PAGE, cursor=cursor, what=args.what)
        items += page["items"]
        cursor = page["nextCursor"] or ""
        if not cursor:
            break
    items = items[: args.limit]
    rows = [
        (
            str(each["id"])[:12],
            _status(each),
            human_date(int(str(each["created_s"]))),
            clean(str(each["summary"]).splitlines()[0] if each["summary"] else each["what"]),
        )
        for each in items
    ]
    none = ["Nothing was sent yet."]
    console.result({"items": items}, console.table(("id", "status", "date", "what"), rows) if rows else none)
    return 0


def _show(daemon: Daemon, console: Console, args: argparse.Namespace) -> int:
    found = daemon.get(f"/api/v1/transactions/{args.id}")
    if args.action == "wait":
        while found["status"] in ("pending", "waits", "mined", "re-orged"):
            wanted = found["confirmations_wanted"]
            found = daemon.get(f"/api/v1/transactions/{found['id']}", wait_s=20, confirmations=wanted)
    shown = {key: value for key, value in found.items() if value is not None and key != "id"}
    shown["spend"] = ", ".join(found["spend"])
    width = max(map(len, shown))
    lines = [f"{key:<{width}}  {clean(value)}" for key, value in shown.items() if value != ""]
    console.result(found, [found["id"], *lines])
    return 1 if found["status"] == "failed" else 0


def _status(each: dict[str, object]) -> str:
    if each["status"] in ("mined", "confirmed"):
        return f"{each['status']} {each['confirmations']}"
    return str(each["status"])
