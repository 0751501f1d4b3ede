"""marina tx: the transactions that this node made, and how each stands."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator

from cli.api import Daemon
from cli.console import Console, clean, human_date
from cli.money import short_amount

_PAGE = 100
_COLUMNS = (
    "id",
    "hash",
    "status",
    "confirmations",
    "created_s",
    "what",
    "summary",
    "account",
    "spend",
    "fee",
    "reason",
)


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
        return _csv(daemon, args)
    return _list(daemon, console, args)


def _pages(daemon: Daemon, args: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Yield the newest transactions, as many as were asked for."""
    cursor, left = "", args.limit
    while left > 0:
        page = daemon.get("/api/v1/transactions", limit=_PAGE, cursor=cursor, what=args.what)
        yield from page["items"][:left]
        left -= len(page["items"])
        cursor = page["nextCursor"] or ""
        if not cursor:
            return


def _csv(daemon: Daemon, args: argparse.Namespace) -> int:
    """Write the rows as they are in JSON, page by page: the list has no end by itself."""
    writer = csv.writer(sys.stdout)
    writer.writerow(_COLUMNS)
    for each in _pages(daemon, args):
        cells = (each[name] for name in _COLUMNS)
        writer.writerow(
            "; ".join(cell) if isinstance(cell, list) else "" if cell is None else cell for cell in cells
        )
    return 0


def _list(daemon: Daemon, console: Console, args: argparse.Namespace) -> int:
    items = list(_pages(daemon, args))
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
    if found["fee"] is not None:
        shown["fee"] = short_amount(found["fee"])
    width = max(map(len, shown))
    lines = [f"{key:<{width}}  {clean(value)}" for key, value in shown.items() if value != ""]
    console.result(found, [found["id"], *lines])
    return 1 if found["status"] == "failed" else 0


def _status(each: dict[str, object]) -> str:
    if each["status"] in ("mined", "confirmed"):
        return f"{each['status']} {each['confirmations']}"
    return str(each["status"])
