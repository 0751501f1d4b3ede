"""marina guardian: keep parts of keys for artists, so that their music is sold while they sleep."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console, clean, human_date
from cli.spend import add_spend_options, settled_lines, spend
from marina.errors import NotPermittedError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands; none shows the status."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("status", help="whether this node keeps keys, and what it released")
    actions.add_parser("list", help="who is registered as a guardian")
    actions.add_parser("id", help="the key that an artist names a delegate by")
    enable = actions.add_parser("enable", help="answer key requests; registers this node with a bond")
    enable.add_argument(
        "--bond", metavar="AMOUNT", help="all of it, in MMT (the smallest that the DAO allows, or as it is)"
    )
    enable.add_argument("--fee", metavar="AMOUNT", help="asked for a release, in MMT (0, or as it is)")
    enable.add_argument(
        "--delegate", action="store_true", help="only as a delegate of artists who name this node: no bond"
    )
    actions.add_parser("disable", help="answer no key requests; the bond stays")
    beat = actions.add_parser("beat", help="show on the chain that this guardian is there")
    unbond = actions.add_parser("unbond", help="stop being a guardian; the bond is free in 14 days")
    withdraw = actions.add_parser("withdraw", help="get the bond back")
    for each in (enable, beat, unbond, withdraw):
        add_spend_options(each)


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one of the actions."""
    daemon = Daemon(console)
    if args.action == "list":
        return _list(daemon, console)
    if args.action == "id":
        facts = daemon.get("/api/v1/guardian")
        if "key" not in facts:
            raise NotPermittedError("the vault is locked: open it with 'marina key unlock'")
        console.result({"key": facts["key"]}, facts["key"])
    elif args.action == "enable":
        return _enable(daemon, console, args)
    elif args.action == "disable":
        facts = daemon.post("/api/v1/guardian", {"on": False})
        console.result(
            facts, "This node answers no key requests any more. Artists who gave it shares miss it."
        )
    elif args.action in ("beat", "unbond", "withdraw"):
        spend(daemon, console, args, f"/api/v1/guardian/{args.action}", {})
    else:
        facts = daemon.get("/api/v1/guardian")
        console.result(facts, _lines(facts))
    return 0


def _enable(daemon: Daemon, console: Console, args: argparse.Namespace) -> int:
    """Register with a bond, unless it is a delegate's node, then answer requests."""
    done: dict[str, object] = {"transactions": []}
    if not args.delegate:
        body = {"bond": args.bond, "fee": args.fee}
        done = spend(daemon, console, args, "/api/v1/guardian/enlist", body, is_shown=args.dry_run)
        if args.dry_run:
            return 0
    facts = {**daemon.post("/api/v1/guardian", {"on": True}), "transactions": done["transactions"]}
    sent = settled_lines(done) if done["transactions"] else []
    console.result(facts, [*sent, "This node answers key requests, also after a restart."])
    console.hint("Keep it running and its vault open: a locked guardian releases nothing.")
    return 0


def _list(daemon: Daemon, console: Console) -> int:
    items: list[dict[str, object]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = daemon.get("/api/v1/guardians", **({"cursor": cursor} if cursor else {}))
        items += page["items"]
        cursor = page["nextCursor"]
    rows = [
        (
            str(each["peer"])[-8:],
            str(each["account"])[:12],
            each["bond"],
            each["fee"],
            human_date(int(str(each["active_s"]))),
            "removed" if each["removed"] else "leaves" if each["unlocks_s"] else "",
        )
        for each in items
    ]
    none = ["Nobody is registered. This node can be the first: marina guardian enable"]
    heads = ("guardian", "account", "bond", "fee", "last seen", "")
    console.result({"items": items}, console.table(heads, rows) if rows else none)
    return 0


def _lines(facts: dict[str, object]) -> list[str]:
    registered, answers = facts["registered"], facts["answers"]
    lines = ["This node answers key requests." if facts["on"] else "This node answers no key requests."]
    if facts["on"] and facts["locked"]:
        lines.append("Its vault is locked, so it releases nothing: marina key unlock")
    if isinstance(registered, dict):
        state = "leaves; its bond is" if registered["unlocks_s"] else "is a guardian with a bond of"
        lines.append(f"{registered['account']} {state} {registered['bond']}, fee {registered['fee']}")
        if registered["unlocks_s"]:
            lines.append(
                f"The bond is free on {human_date(int(registered['unlocks_s']))}: marina guardian withdraw"
            )
        if not registered["this_node"]:
            lines.append("It is registered with another node, which has to answer.")
    elif facts["problem"]:
        lines.append(f"Whether it is registered is not known: {clean(facts['problem'])}")
    else:
        lines.append("It is not registered: 'marina guardian enable' does that, with a bond.")
    lines.append(f"released {facts['released']} times, to {facts['devices']} devices")
    if isinstance(answers, dict) and answers:
        since = ", ".join(f"{clean(name)} {count}" for name, count in sorted(answers.items()))
        lines.append(f"answers since the start: {since}")
    return lines
