"""marina terms: what a track or release is sold for, and who is paid."""

from __future__ import annotations

import argparse
from typing import Any

from cli.api import Daemon
from cli.console import Console, clean, human_date


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the argument."""
    parser.add_argument("id", help="track, release or link")


def run(args: argparse.Namespace, console: Console) -> int:
    """Show the terms."""
    facts = Daemon(console).get(f"/api/v1/market/{args.id}/terms")
    if not facts["registered"]:
        console.result(
            facts, f"{clean(facts['title'])} is not registered on this chain: it is not sold here."
        )
        return 0
    lines = [
        f"{clean(facts['title'])}  {facts['id']}",
        *_offers(console, facts["items"], "not sold by itself"),
    ]
    if not facts["for_sale"]:
        lines.append(
            "The DAO has blocked its sale." if facts["blocked"] else "Its owner does not sell it now."
        )
    if facts["release"] is not None:
        lines.append(f"or with “{clean(facts['release']['title'])}”, {facts['release']['id']}:")
        lines += _offers(console, facts["release"]["items"], "not sold either")
    lines += _assurance(facts["assurance"])
    shares = ", ".join(f"{each['account'][:10]}… {each['percent']:g} %" for each in facts["splits"])
    lines.append(f"paid to {shares}, after {facts['fee_percent']:g} % for the DAO")
    for kind, until in facts["yours_until_s"].items():
        if until is not None:
            lines.append(
                f"yours ({kind}) {'for ever' if until == 'forever' else 'until ' + human_date(until)}"
            )
    console.result(facts, lines)
    return 0


def _assurance(found: dict[str, Any] | None) -> list[str]:
    """Return whether it could be heard now, as far as keys are needed."""
    if found is None:
        return []
    if found["problem"] is not None:
        return [f"not to be heard now: {clean(found['problem'])}"]
    quorum = found["quorum"]
    words = f"{quorum['ready']} of {quorum['of']} guardians are ready and {quorum['needed']} are needed"
    if quorum["delegates"]:
        words += f"; {quorum['delegates']} of the artist's delegates answer too"
    thin = "; few more failures would leave the key out of reach" if quorum["thin"] else ""
    return [f"to be heard now: {words}{thin}"]


def _offers(console: Console, items: list[dict[str, Any]], none: str) -> list[str]:
    rows = [(each["term"], each["price"], each["span"], each["kind"]) for each in items if each["sold"]]
    return list(console.table(("term", "price", "for", "kind"), rows)) if rows else [f"  {none}"]
