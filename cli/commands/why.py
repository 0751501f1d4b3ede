"""marina why: who sent a track, which licence opens it, who released its key, what was paid to whom."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from cli.api import Daemon
from cli.console import Console, clean, counted, human_bytes, human_date


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the argument."""
    parser.add_argument("id", help="track, release or link")


def run(args: argparse.Namespace, console: Console) -> int:
    """Explain a track."""
    facts = Daemon(console).get(f"/api/v1/why/{args.id}")
    lines = [f"{clean(facts['title'])} — {clean(facts['artist'])}   {facts['id']}"]
    lines += _sent(facts, console)
    lines += _licence(facts)
    lines += [line for each in facts["keys"] for line in _key(each)]
    lines += [
        f"bad answer from guardian {each['guardian']} ({each['tier']}): {clean(each['why'])}"
        + ("; the proof is kept" if each["proven"] else "")
        for each in facts["faults"]
    ]
    lines += [
        f"the artist's keybox of the {each['tier']} tier is false; the proof is kept (--json prints it)"
        for each in facts["frauds"]
    ]
    lines += _paid(facts)
    console.result(facts, lines)
    return 0


def _sent(facts: Mapping[str, Any], console: Console) -> list[str]:
    rows = [
        (each["tier"], peer["peer"] or "several others", human_bytes(peer["bytes"]), peer["segments"])
        for each in facts["renditions"]
        for peer in each["peers"]
    ]
    if not rows:
        return ["nothing of it came from a peer"]
    total = f"{human_bytes(facts['bytes'])} came from {counted(len({row[1] for row in rows}), 'peer')}"
    return [total, *console.table(("tier", "peer", "sent", "segments"), rows, indent="  ")]


def _licence(facts: Mapping[str, Any]) -> list[str]:
    if facts["mine"]:
        return ["it is yours: you published it"]
    lines = []
    for each in facts["licences"]:
        until = "for ever" if each["expires_s"] is None else f"until {human_date(each['expires_s'])}"
        lines.append(f"licence {each['licence'][:14]}… {'paid back' if each['refunded'] else until}")
    return lines or [f"no licence is held; its terms are {clean(facts['terms'])}"]


def _key(each: Mapping[str, Any]) -> list[str]:
    when = human_date(each["released_s"])
    who = ", ".join(each["guardians"])
    lease = f"good without the chain until {human_date(each['lease_until_s'])}"
    return [f"key ({each['tier']}) released on {when} at block {each['block']} by {who}; {lease}"]


def _paid(facts: Mapping[str, Any]) -> list[str]:
    lines = []
    for each in facts["payments"]:
        lines.append(
            f"paid {each['amount']} on {human_date(each['sold_s'])} in block {each['block']} "
            f"({counted(each['confirmations'], 'confirmation')}), {each['transaction']}"
        )
        lines += [f"  {share['amount']} to {share['to']}" for share in each["shares"]]
    if len(facts["payments"]) > 1:
        lines.append("in all " + ", ".join(each["amount"] for each in facts["paid"]))
    return lines
