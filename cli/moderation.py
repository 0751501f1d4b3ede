"""marina dao moderation: the list that the DAO recommends, and how one is made."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cli.api import Daemon
from cli.console import Console, clean

_ENTRIES_SHOWN = 100


def configure(actions: Any) -> None:
    """Declare its steps; none shows the adopted list."""
    moderation = actions.add_parser("moderation", help="the list that operators may follow; or make one")
    steps = moderation.add_subparsers(dest="step", metavar="STEP")
    show = steps.add_parser("show", help="what the adopted list names (default)")
    show.add_argument("name", nargs="?", metavar="ID", help="only this release, track or CID")
    make = steps.add_parser("make", help="make a list of a text file, to be proposed")
    make.add_argument("file", type=Path, help="one entry a line: rl_…, tr_… or a CID, and the reason")
    make.add_argument("--block", type=Path, metavar="OUT", help="also write its block into this file")
    take = steps.add_parser("take", help="take the adopted list from a file that holds its block")
    take.add_argument("file", type=Path)


def run(daemon: Daemon, console: Console, args: argparse.Namespace) -> int:
    """Run one of the steps."""
    if args.step == "make":
        return _make_list(daemon, console, args)
    if args.step == "take":
        facts = daemon.post("/api/v1/dao/moderation/take", {"file": str(args.file.expanduser().absolute())})
        console.result(facts, f"The adopted list is here: {_entries(facts['entries'])}.")
        return 0
    name = getattr(args, "name", None)
    query = {} if name is None else {"name": name}
    facts = daemon.get("/api/v1/dao/moderation", limit=_ENTRIES_SHOWN, **query)
    lines = ["The DAO has adopted no moderation list."]
    if facts["cid"]:
        rows = [(clean(each["id"]), clean(each["reason"])) for each in facts["items"]]
        more = facts["entries"] - len(rows)
        lines = [
            f"adopted {facts['cid']}" + ("" if facts["current"] else " (the chain does not answer now)"),
            *(console.table(("names", "because"), rows) if rows else ["It names nothing."]),
            *([f"and {more} more: marina dao moderation show ID asks for one"] if more > 0 else []),
        ]
    console.result(facts, [*lines, clean(facts["message"][:1].upper() + facts["message"][1:]) + "."])
    return 0


def _make_list(daemon: Daemon, console: Console, args: argparse.Namespace) -> int:
    facts = daemon.post("/api/v1/dao/moderation", {"file": str(args.file.expanduser().absolute())})
    if args.block is not None:
        path = args.block.expanduser()
        path.write_bytes(b"".join(daemon.download(f"/api/v1/dao/moderation/{facts['digest']}/block")))
        facts["block"] = str(path)
    against = "" if facts["compared"] else " (the adopted list is not to be had: not compared)"
    changed = f"{facts['added']['count']} new, {facts['removed']['count']} left out{against}"
    lines = [
        f"{_entries(facts['entries'])}, {facts['bytes']} bytes; {changed}",
        f"digest {facts['digest']}",
        f"block  {facts['cid']}, kept and served by this node",
    ]
    console.result(facts, lines)
    console.hint(
        f"Propose it: marina dao propose --title 'The new list' --set moderation-list={facts['cid']}"
    )
    return 0


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"
