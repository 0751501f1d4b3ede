"""marina release: list, watch, sell, update and withdraw what this node published."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cli.api import Daemon
from cli.car import configure_car, run_car
from cli.console import Console, clean, human_date
from cli.sale import add_holder_options, holder_body, sale_lines
from cli.spend import add_spend_options, settled_lines, spend
from marina.errors import NotPermittedError, UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="releases of this node")
    status = actions.add_parser("status", help="replicas and whether it is safe to close")
    status.add_argument("id")
    replicate = actions.add_parser("replicate", help="ask operators to keep a release")
    replicate.add_argument("id")
    replicate.add_argument("--replicas", type=int, required=True, metavar="N")
    update = actions.add_parser("update", help="sign a successor: changed texts or another file for a track")
    update.add_argument("id")
    update.add_argument("--title")
    update.add_argument("--artist")
    update.add_argument("--terms")
    update.add_argument(
        "--track", nargs=2, metavar=("N", "FILE"), help="number of the track to replace, and its new file"
    )
    withdraw = actions.add_parser("withdraw", help="sign a tombstone: nothing is offered any more")
    withdraw.add_argument("id")
    withdraw.add_argument("--reason", default="")
    withdraw.add_argument("--yes", action="store_true", help="do not ask")
    _configure_market(actions)
    reissue = actions.add_parser(
        "reissue", help="split the keys of what is sold anew: other guardians, a new epoch, the same sound"
    )
    reissue.add_argument("id")
    allow = actions.add_parser("allow", help="let a delegate's account reissue a release too")
    dismiss = actions.add_parser("dismiss", help="let an account reissue a release no longer")
    for each in (allow, dismiss):
        each.add_argument("id")
        each.add_argument(
            "to", metavar="ACCOUNT|KEY", help="its account, or what 'marina guardian id' prints there"
        )
        add_spend_options(each)
    configure_car(actions)
    add_holder_options(reissue)
    add_spend_options(reissue)


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one of the actions."""
    daemon = Daemon(console)
    if args.action in _MARKET:
        return _market(daemon, args, console)
    if args.action == "reissue":
        return _reissue(daemon, args, console)
    if args.action in ("allow", "dismiss"):
        writer = {"to": args.to, "allowed": args.action == "allow"}
        spend(daemon, console, args, f"/api/v1/releases/{args.id}/writers", writer)
        return 0
    if args.action in ("export", "import"):
        return run_car(daemon, args, console)
    if args.action == "list":
        return _list(daemon, console)
    if args.action == "status":
        return _status(daemon.get(f"/api/v1/releases/{args.id}/status"), console)
    if args.action == "replicate":
        facts = daemon.post(f"/api/v1/releases/{args.id}/replicate", {"replicas": args.replicas})
        console.result(facts, _summary(facts))
        if facts["wanted"]:
            console.hint(f"Operators are asked now. What they say: marina release status {clean(args.id)}")
        return 0  # they answer and fetch while the node runs
    if args.action == "update":
        body: dict[str, object] = {key: getattr(args, key) for key in ("title", "artist", "terms")}
        if args.track:
            body |= _replacement(*args.track)
        facts = daemon.post(f"/api/v1/releases/{args.id}/update", body)
        console.result(facts, f"{facts['release']} is now version {facts['version']}: {facts['cid']}")
        return 0
    if not args.yes and not console.ask("Withdraw it? Listeners keep what they have; nobody new can get it."):
        raise NotPermittedError("not withdrawn: answer y, or pass --yes")
    facts = daemon.post(f"/api/v1/releases/{args.id}/withdraw", {"reason": args.reason})
    console.result(facts, f"{facts['release']} is withdrawn (version {facts['version']}).")
    return 0


_MARKET = ("register", "price", "splits")


def _configure_market(actions: Any) -> None:
    register = actions.add_parser(
        "register", help="register a release or track on the chain, with prices and splits"
    )
    price = actions.add_parser("price", help="add a price, or switch one on or off")
    splits = actions.add_parser("splits", help="share what is earned from now on in another way")
    for each in (register, price, splits):
        each.add_argument("id")
    for each in (register, price):
        each.add_argument("--price", metavar="AMOUNT", help="of one licence, like 0.50USDC; 0ETH is free")
        each.add_argument(
            "--period", default="forever", help="how long it lasts: 30d, 1y, or forever (default)"
        )
        each.add_argument(
            "--kind", choices=("stream", "download"), default="stream", help="download opens both"
        )
    register.add_argument("--track-price", metavar="AMOUNT", help="price of each track by itself")
    register.add_argument(
        "--royalty", type=float, default=0.0, metavar="PERCENT", help="of resales (ERC-2981)"
    )
    for each in (register, splits):
        each.add_argument(
            "--split",
            action="append",
            default=[],
            metavar="ACCOUNT=PERCENT%",
            help="a collaborator's part; repeat",
        )
    price.add_argument("--disable", type=int, metavar="TERM", help="stop selling an offer")
    price.add_argument("--enable", type=int, metavar="TERM", help="sell an offer again")
    for each in (register, price, splits):
        add_spend_options(each)


def _market(daemon: Daemon, args: argparse.Namespace, console: Console) -> int:
    body: dict[str, object] = {"target": args.id}
    if args.action in ("register", "splits"):
        body["splits"] = args.split
    if args.action in ("register", "price") and args.price is not None:
        body["terms"] = [{"price": args.price, "period": args.period, "kind": args.kind}]
    if args.action == "register":
        body["royalty_bps"] = round(args.royalty * 100)
        if args.track_price is not None:
            body["track_terms"] = [{"price": args.track_price, "period": args.period, "kind": args.kind}]
    if args.action == "price":
        body |= {"disable": args.disable, "enable": args.enable}
    spend(daemon, console, args, f"/api/v1/market/{args.action}", body)
    return 0


def _reissue(daemon: Daemon, args: argparse.Namespace, console: Console) -> int:
    body = {**holder_body(args), "dry_run": args.dry_run}
    done = spend(daemon, console, args, f"/api/v1/releases/{args.id}/reissue", body, is_shown=False)
    quote = done["quote"]
    facts = {
        **{key: quote.get(key) for key in ("release", "version", "is_resumed", "guardians", "threshold")},
        **{key: quote[key] for key in ("delegates", "warnings")},
        "dry_run": args.dry_run,
        "transactions": done["transactions"],
    }
    if args.dry_run:
        console.result(facts, [*sale_lines(quote), "Nothing was signed."])
        return 0
    again = "  (signed before; it went on from there)" if quote["is_resumed"] else ""
    lines = [f"{quote['release']} is now version {quote['version']}{again}", *sale_lines(quote)]
    console.result(facts, [*lines, *settled_lines(done)])
    return 0


def _replacement(number: str, file: str) -> dict[str, object]:
    if not number.isdecimal():
        raise UsageError(f"--track {clean(number)}: give the track's number, then the new file")
    return {"track": int(number), "file": str(Path(file).expanduser().absolute())}


def _list(daemon: Daemon, console: Console) -> int:
    facts = daemon.get("/api/v1/releases")
    rows = [
        (
            clean(each["title"]),
            clean(each["artist"]),
            "withdrawn" if each["withdrawn"] else f"v{each['version']}",
            each["tracks"],
            f"{each['replicas']}/{each['wanted']}",
            each["id"][:14],
        )
        for each in facts["items"]
    ]
    none = ["Nothing published yet. Start with: marina publish DIR"]
    lines = console.table(("release", "artist", "state", "tracks", "replicas", "id"), rows) if rows else none
    console.result(facts, lines)
    return 0


def _status(facts: dict, console: Console) -> int:  # type: ignore[type-arg]
    rows = [
        (each["peer"][-8:], each["account"][:12], each["state"], human_date(each["until"]))
        for each in facts["pledges"]
    ]
    lines = [
        _summary(facts),
        *(console.table(("operator", "account", "state", "until"), rows) if rows else []),
        *(f"! {each['peer'][-8:]}: {clean(each['reason'])}" for each in facts["pledges"] if each["reason"]),
        f"{facts['message'][0].upper()}{facts['message'][1:]}.",
        *_key_lines(facts.get("keys"), facts["id"]),
    ]
    console.result(facts, lines)
    is_safe = facts["safe_to_close"] or not facts["wanted"]
    return 0 if is_safe and not _are_keys_in_danger(facts.get("keys")) else 8


def _are_keys_in_danger(keys: dict | None) -> bool:  # type: ignore[type-arg]
    return keys is not None and (keys["problem"] is not None or not keys["is_enough"] or keys["is_thin"])


def _key_lines(keys: dict | None, release: str) -> list[str]:  # type: ignore[type-arg]
    """Return whether the keys of a release are within reach; nothing for a free one."""
    if keys is None:
        return []
    if keys["problem"] is not None:
        return [f"! Its keys could not be looked at: {clean(keys['problem'])}"]
    lines = [f"Keys, epoch {keys['epoch']}: {clean(keys['message'])}."]
    lines += [f"  guardian {clean(who)} {clean(why)}" for who, why in sorted(keys["problems"].items())]
    if _are_keys_in_danger(keys):
        lines.append(f"! Too few are live: split the keys anew with 'marina release reissue {release[:14]}'.")
    return lines


def _summary(facts: dict) -> str:  # type: ignore[type-arg]
    safe = "yes" if facts["safe_to_close"] else "no"
    count = f"{facts['replicas']}/{facts['wanted']}"
    return f"{clean(facts['title'])}   replicas {count}   safe to close: {safe}"
