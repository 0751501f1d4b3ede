"""marina edition: limited editions (ERC-1155) of tracks and releases."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console, clean
from cli.spend import add_spend_options, spend


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands; none lists what you hold."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    every = actions.add_parser("list", help="the editions that you hold, or those of a track or release")
    every.add_argument("id", nargs="?")
    show = actions.add_parser("show", help="one edition")
    show.add_argument("number", type=int)
    create = actions.add_parser(
        "create", help="make an edition of something you registered; its size is final"
    )
    create.add_argument("id")
    create.add_argument("--count", type=int, required=True, metavar="N", help="how many there ever are")
    create.add_argument(
        "--price", required=True, metavar="AMOUNT", help="of one, like 0.1ETH; 0ETH gives it away"
    )
    mint = actions.add_parser("mint", help="give pieces away")
    mint.add_argument("number", type=int)
    mint.add_argument("to", metavar="ACCOUNT")
    mint.add_argument("--count", type=int, default=1, metavar="N")
    buy = actions.add_parser("buy", help="buy pieces")
    buy.add_argument("number", type=int)
    buy.add_argument("--count", type=int, default=1, metavar="N")
    buy.add_argument("--for", dest="to", metavar="ACCOUNT", help="give them to somebody")
    for each in (create, mint, buy):
        add_spend_options(each)


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one of the actions."""
    daemon = Daemon(console)
    if args.action == "create":
        body = {"target": args.id, "count": args.count, "price": args.price}
        spend(daemon, console, args, "/api/v1/editions", body)
    elif args.action == "mint":
        spend(
            daemon,
            console,
            args,
            f"/api/v1/editions/{args.number}/mint",
            {"to": args.to, "count": args.count},
        )
    elif args.action == "buy":
        spend(
            daemon, console, args, f"/api/v1/editions/{args.number}/buy", {"to": args.to, "count": args.count}
        )
    elif args.action == "show":
        facts = daemon.get(f"/api/v1/editions/{args.number}")
        console.result(facts, console.table(_HEADS, [_row(facts)]))
    else:
        target = getattr(args, "id", None)
        facts = daemon.get("/api/v1/editions", **({"target": target} if target else {}))
        rows = [_row(each) for each in facts["items"]]
        none = ["You hold none." if target is None else "There is none of it."]
        console.result(facts, console.table(_HEADS, rows) if rows else none)
    return 0


_HEADS = ("edition", "of", "price", "left", "you hold", "resale royalty")


def _row(each: dict[str, object]) -> tuple[object, ...]:
    return (
        each["edition"],
        clean(each["title"]),
        each["price"],
        f"{each['left']} of {each['count']}",
        each["held"],
        f"{each['royalty_percent']} %",
    )
