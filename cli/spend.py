"""What every command that costs something does: show it, ask, sign exactly that, wait until it is mined."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from cli.api import Daemon
from cli.console import Console, clean
from cli.money import short_amount
from marina.errors import MarinaError, NetworkError, NotPermittedError

_WAIT_S = 120.0
_POLL_S = 20


def add_spend_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all of these commands share."""
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="show what would be sent, and send nothing")
    parser.add_argument(
        "--max-fee", metavar="AMOUNT", help="the most that the network fees may be, like 0.01ETH"
    )
    parser.add_argument("--account", metavar="NAME", help="which account of this node pays (marina wallet)")


def spend(
    daemon: Daemon,
    console: Console,
    args: argparse.Namespace,
    path: str,
    body: Mapping[str, object],
    *,
    is_shown: bool = True,
) -> dict[str, Any]:
    """Ask for a quote, let the owner confirm it, send it and return what became of it.

    Args:
        daemon: the owner's node.
        console: where it is shown and asked.
        args: with the options of ``add_spend_options``.
        path: of the request that answers a quote.
        body: of that request.
        is_shown: print the result; False leaves that to the caller, who finds it under ``quote``.

    Raises:
        NotPermittedError: the owner said no.
        MarinaError: it would fail, or failed.
    """
    asked = {**body, "account": args.account, "max_fee": args.max_fee}
    quote = daemon.post(path, asked)
    lines = quote_lines(quote) if quote["transactions"] else ["Nothing is left to be sent."]
    shown = {key: value for key, value in quote.items() if key != "confirm"}
    if args.dry_run or not quote["transactions"]:
        facts = {"quote": shown, "dry_run": bool(args.dry_run), "transactions": []}
        if is_shown:
            console.result(facts, lines)
        return facts
    if not console.is_json:
        for line in lines:
            console.hint(line)
    if not args.yes and not console.ask(_question(quote)):
        raise NotPermittedError("nothing was sent: answer y, or pass --yes")
    sent = daemon.post("/api/v1/wallet/confirm", {"confirm": quote["confirm"]})["items"]
    done = [_settled(daemon, console, each) for each in sent]
    facts = {"transactions": done, "quote": shown}
    if is_shown:
        console.result(facts, settled_lines(facts))
    return facts


def settled_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return what became of the transactions that ``spend`` sent."""
    return [_line(each) for each in facts["transactions"]] or ["Nothing was left to be sent."]


def quote_lines(quote: Mapping[str, Any]) -> list[str]:
    """Return what the owner reads before saying yes."""
    lines: list[str] = []
    for each in quote["transactions"]:
        lines.append(clean(each["summary"]))
        if each["under_way"]:
            lines.append(f"  Under way already, not sent twice: marina tx show {each['under_way'][:12]}")
    where = f"on {quote['chain']}, paid by {quote['account']}"
    most = "at most " + short_amount(quote["fee_max"]) if quote["fee_max"] else "not known yet"
    fee = f"network fee {most} {where}"
    if quote["spend"]:
        left = ", ".join(quote["left_today"])
        lines.append(f"  total {' + '.join(quote['spend'])}; {fee} (limit today: {left} left)")
    else:
        lines.append(f"  {fee}")
    if quote["waits"]:
        lines.append(
            "  The chain does not answer, so this could not be tried; the price is the last that was seen. "
            "It is paid once the chain answers, unless it is refused then. 'marina tx cancel' takes it back."
        )
    return lines


def _question(quote: Mapping[str, Any]) -> str:
    if quote["waits"]:
        return "Pay when the chain answers?"
    return "Pay and send?" if quote["spend"] else "Send?"


def _settled(daemon: Daemon, console: Console, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Wait until a transaction is mined and this node has seen what it did; not for one that is queued."""
    if sent["status"] == "waits":
        return dict(sent)
    ends_s = time.monotonic() + (console.timeout_s or _WAIT_S)
    while True:
        found: dict[str, Any] = daemon.get(f"/api/v1/transactions/{sent['id']}", wait_s=_POLL_S)
        if found["status"] in ("mined", "confirmed"):
            return found
        if found["status"] in ("failed", "cancelled"):
            raise MarinaError(found["reason"] or "the transaction failed")
        if time.monotonic() > ends_s:
            raise NetworkError(
                f"transaction {found['id'][:12]} is not mined yet; it is followed on and not sent twice: "
                f"look with 'marina tx show {found['id'][:12]}'"
            )
        console.hint(f"tx {found['hash']} {found['status']} …")


def _line(done: Mapping[str, Any]) -> str:
    if done["status"] == "waits":
        return f"{done['id'][:12]} waits for the chain  {clean(done['summary'])}"
    wanted = done["confirmations_wanted"]
    how = f"{done['status']} {min(done['confirmations'], wanted)}/{wanted}"
    fee = f", fee {short_amount(done['fee'])}" if done["fee"] else ""
    return f"tx {done['hash']} {how}{fee}  {clean(done['summary'])}"
