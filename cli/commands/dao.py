"""marina dao: proposals, votes, parameters, the treasury and the moderation list."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cli import moderation
from cli.api import Daemon
from cli.console import Console, clean, human_date
from cli.spend import add_spend_options, spend
from marina.errors import UsageError

_TEXT_BYTES_MAX = 256 << 10
_MMT = 10**18


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands; none lists."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    every = actions.add_parser("list", help="proposals, the newest first")
    every.add_argument("-n", "--limit", type=int, default=20, metavar="N", help="at most N (default 20)")
    show = actions.add_parser("show", help="one proposal, every call of it in words")
    show.add_argument("proposal")
    show.add_argument(
        "--simulate", action="store_true", help="and what it would change if it were executed now"
    )
    show.add_argument("--text", action="store_true", help="and the whole text that it names")
    show.add_argument("--votes", action="store_true", help="and who voted how")
    actions.add_parser("params", help="what the DAO has set, and what you have in it")
    voter = actions.add_parser("voter", help="what an account holds, votes with, and how it voted")
    voter.add_argument("who", metavar="ACCOUNT", nargs="?", help="your own, unless given")
    actions.add_parser("treasury", help="what the DAO holds")
    collect = actions.add_parser("collect", help="pay the collected fees into the treasury")
    propose = actions.add_parser("propose", help="propose changes and payments")
    propose.add_argument("--title", required=True)
    propose.add_argument("--summary", default="", help="a few lines that go on the chain")
    propose.add_argument("--text", type=Path, metavar="FILE", help="the whole text; kept by this node")
    propose.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="like fee=5%%; repeat"
    )
    propose.add_argument(
        "--pay", action="append", default=[], metavar="AMOUNT=ACCOUNT", help="from the treasury"
    )
    propose.add_argument(
        "--call",
        action="append",
        default=[],
        nargs="+",
        metavar=("CONTRACT", "FUNCTION"),
        help="any other call: CONTRACT FUNCTION ARG …",
    )
    vote = actions.add_parser("vote", help="vote for, against or abstain")
    vote.add_argument("proposal")
    vote.add_argument("support", choices=("for", "against", "abstain"))
    vote.add_argument("--reason", default="", help="goes on the chain")
    steps = [
        actions.add_parser("queue", help="put a carried proposal into the timelock"),
        actions.add_parser("execute", help="execute a queued one whose time has come"),
        actions.add_parser("cancel", help="take your own back before the vote"),
    ]
    for each in steps:
        each.add_argument("proposal")
    delegate = actions.add_parser("delegate", help="let somebody, or yourself, vote with your MMT")
    delegate.add_argument("to", metavar="ACCOUNT|self")
    for each in (collect, propose, vote, *steps, delegate):
        add_spend_options(each)
    moderation.configure(actions)


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one of the actions."""
    daemon = Daemon(console)
    if args.action == "show":
        return _show(daemon, console, args)
    if args.action == "params":
        return _params(daemon, console)
    if args.action == "treasury":
        return _treasury(daemon, console)
    if args.action == "voter":
        return _voter(daemon, console, args.who)
    if args.action == "moderation":
        return moderation.run(daemon, console, args)
    if args.action in (None, "list"):
        return _list(daemon, console, getattr(args, "limit", 20))
    path, body = _request(args)
    spend(daemon, console, args, f"/api/v1/dao/{path}", body)
    return 0


def _request(args: argparse.Namespace) -> tuple[str, dict[str, object]]:
    if args.action == "collect":
        return "collect", {}
    if args.action == "delegate":
        return "delegate", {"to": args.to}
    if args.action == "vote":
        return f"{_place(args.proposal)}/vote", {"support": args.support, "reason": args.reason}
    if args.action == "propose":
        body = {
            "title": args.title,
            "summary": args.summary,
            "text": _text(args.text),
            "changes": args.set,
            "payments": args.pay,
            "calls": args.call,
            "dry_run": args.dry_run,
        }
        return "propose", body
    return f"{_place(args.proposal)}/{args.action}", {}


def _place(proposal: str) -> str:
    return f"proposals/{quote(proposal, safe='')}"


def _text(path: Path | None) -> str | None:
    if path is None:
        return None
    data = path.expanduser().read_bytes()[: _TEXT_BYTES_MAX + 1]
    if len(data) > _TEXT_BYTES_MAX:
        raise UsageError(f"{path} is longer than {_TEXT_BYTES_MAX >> 10} KiB: shorten it")
    try:
        return data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as err:
        raise UsageError(f"{path} is no UTF-8 text: save it as one") from err


def _list(daemon: Daemon, console: Console, limit: int) -> int:
    facts = daemon.get("/api/v1/dao/proposals", limit=max(1, min(limit, 50)))
    rows = [
        (each["number"], each["state"], _votes(each["for"]), _votes(each["against"]), clean(each["title"]))
        for each in facts["items"]
    ]
    none = ["Nothing has been proposed yet. What could be: marina dao params"]
    heads = ("no", "state", "for", "against", "title")
    console.result(facts, console.table(heads, rows) if rows else none)
    return 0


def _show(daemon: Daemon, console: Console, args: argparse.Namespace) -> int:
    query = {"simulate": "true"} if args.simulate else {}
    facts = daemon.get(f"/api/v1/dao/{_place(args.proposal)}", **query)
    lines = [
        f"{facts['number'] or facts['id']}  {clean(facts['title'])}",
        f"{facts['state']}; vote from {_moment(facts['starts_s'])} to {_moment(facts['ends_s'])}",
        f"for {_votes(facts['for'])}, against {_votes(facts['against'])}, abstain {_votes(facts['abstain'])}"
        + (f"; quorum {_votes(facts['quorum'])}" if facts["quorum"] else ""),
    ]
    if facts["executable_s"]:
        lines.append(f"may be executed from {_moment(facts['executable_s'])}")
    if facts["summary"]:
        lines += [clean(each) for each in facts["summary"].splitlines()]
    lines += ["If it is carried:", *_calls(facts["calls"])]
    if "effect" in facts:
        lines += _effect(facts["effect"])
    lines.append(
        f"You have {_votes(facts['your_votes'])} of votes"
        + (" and have voted." if facts["you_voted"] else ".")
    )
    if args.votes:
        facts["votes"] = daemon.get(f"/api/v1/dao/{_place(args.proposal)}/votes", limit=200)["items"]
        lines += _ballots(console, facts["votes"], "voter")
    if args.text:
        facts["text"] = daemon.get(f"/api/v1/dao/{_place(args.proposal)}/text")["text"]
        lines += ["", *(clean(each) for each in facts["text"].splitlines())]
    elif facts["text_cid"]:
        lines.append(f"Its whole text: marina dao show {clean(args.proposal)} --text")
    console.result(facts, lines)
    return 0


def _effect(effect: dict[str, Any]) -> list[str]:
    message = effect["message"]
    return [
        clean(message[:1].upper() + message[1:]) + ".",
        *(
            f"  {clean(each['title'])}: {clean(each['before'])} → {clean(each['after'])}"
            for each in effect["changes"]
        ),
    ]


def _ballots(console: Console, items: list[dict[str, Any]], key: str) -> list[str]:
    rows = [
        (clean(each[key]), each["support"], _votes(each["votes"]), clean(each["reason"] or ""))
        for each in items
    ]
    return list(console.table((key, "vote", "with", "reason"), rows)) if rows else ["Nobody has voted yet."]


def _calls(calls: list[dict[str, Any]], indent: str = "  ") -> list[str]:
    lines: list[str] = []
    for each in calls:
        lines.append(f"{indent}{clean(each['text'])}")
        lines += [f"{indent}  ! {clean(warning)}" for warning in each["warnings"]]
        lines += _calls(each["inner"], indent + "  ")
    return lines


def _params(daemon: Daemon, console: Console) -> int:
    facts = daemon.get("/api/v1/dao")
    rows = [(each["key"], each["value"], each["title"]) for each in facts["parameters"]]
    console.result(facts, [*console.table(("name", "now", "what"), rows), clean(facts["message"])])
    return 0


def _treasury(daemon: Daemon, console: Console) -> int:
    facts = daemon.get("/api/v1/dao/treasury")
    rows = [(each["held"], each["waiting"]) for each in facts["items"]]
    lines = [f"the treasury is {facts['account']}", *console.table(("holds", "fees to collect"), rows)]
    console.result(facts, lines)
    return 0


def _voter(daemon: Daemon, console: Console, who: str | None) -> int:
    if who is None:
        who = daemon.get("/api/v1/dao")["account"]
    facts = daemon.get(f"/api/v1/dao/voters/{quote(who, safe='')}")
    none = ["It has not voted yet."]
    ballots = _ballots(console, facts["items"], "proposal") if facts["items"] else none
    console.result(facts, [clean(facts["message"]) + ".", *ballots])
    return 0


def _votes(units: str) -> str:
    whole, part = divmod(int(units), _MMT)
    return f"{whole}{f'.{part:018d}'.rstrip('0').rstrip('.')} MMT"


def _moment(unix_s: int) -> str:
    return human_date(unix_s)
