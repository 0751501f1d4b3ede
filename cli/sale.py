"""The options with which a release is sold, and how it is told who keeps its keys."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cli.console import clean
from cli.spend import quote_lines
from marina.errors import UsageError


def add_sale_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``marina publish`` that sell what is published."""
    sale = parser.add_argument_group("to sell it")
    sale.add_argument("--price", metavar="AMOUNT", help="of a licence to the release, like 2DEV or 5USDC")
    sale.add_argument("--track-price", metavar="AMOUNT", help="of a licence to one track by itself")
    sale.add_argument(
        "--period", default="forever", help="how long a licence lasts: 30d, 1y, or forever (default)"
    )
    sale.add_argument("--kind", choices=("stream", "download"), default="stream", help="download opens both")
    sale.add_argument(
        "--split",
        action="append",
        default=[],
        metavar="ACCOUNT=PERCENT%",
        help="a collaborator's part; repeat",
    )
    sale.add_argument("--royalty", type=float, default=0.0, metavar="PERCENT", help="of resales (ERC-2981)")
    add_holder_options(sale)
    sale.add_argument(
        "--finality", choices=("auto", "0", "1", "2"), default="auto",
        help="of a purchase, before a key is released: 0 one block, 1 safe, 2 finalized (default auto)",
    )  # fmt: skip


def add_holder_options(parser: Any) -> None:
    """Add the options that say who keeps the keys."""
    parser.add_argument("--guardians", type=int, metavar="N", help="how many keep a share (default 7)")
    parser.add_argument(
        "--threshold", type=int, metavar="K", help="how many of them give a key together (default 3)"
    )
    parser.add_argument(
        "--delegate", action="append", default=[], metavar="KEY",
        help="a node of yours that keeps the whole keys ('marina guardian id' there prints KEY); up to 3",
    )  # fmt: skip
    parser.add_argument(
        "--not-before",
        metavar="TIME",
        help="nobody releases a key before: 2027-01-31 or 2027-01-31T18:00 (UTC)",
    )


def is_sold(result: Mapping[str, Any]) -> bool:
    """Return whether what was published is sold."""
    return result.get("sale") is not None


def sale_body(args: argparse.Namespace) -> dict[str, object] | None:
    """Return what the node is asked for; None for free music.

    Raises:
        UsageError: an option of a sale without a price.
    """
    if args.price is None and args.track_price is None:
        if holder_body(args) or args.split:
            raise UsageError("give --price or --track-price too: guardians and splits are for what is sold")
        return None
    body: dict[str, object] = {
        "splits": args.split,
        "royalty_bps": round(args.royalty * 100),
        "finality": args.finality,
        **holder_body(args),
    }
    for name, price in (("prices", args.price), ("track_prices", args.track_price)):
        if price is not None:
            body[name] = [{"price": price, "period": args.period, "kind": args.kind}]
    return body


def holder_body(args: argparse.Namespace) -> dict[str, object]:
    """Return who shall keep the keys; what was not said is left out."""
    body: dict[str, object] = {}
    if args.guardians is not None:
        body["guardians"] = args.guardians
    if args.threshold is not None:
        body["threshold"] = args.threshold
    if args.delegate:
        body["delegates"] = args.delegate
    if args.not_before is not None:
        body["not_before"] = _unix_s(args.not_before)
    return body


def sale_lines(sale: Mapping[str, Any]) -> list[str]:
    """Return who keeps the keys, and what to be warned of."""
    lines: list[str] = []
    if sale.get("of"):
        lines.append(f"keys      {sale['threshold']} of {sale['of']} guardians, epoch {sale['epoch']}")
    lines += [
        f"  guardian {clean(each['peer'][-8:])}  {clean(each['account'])}"
        + ("" if each["ready"] else f"  ({clean(each['problem'])})")
        for each in sale["guardians"]
    ]
    lines += [f"  delegate {clean(each[-8:])}" for each in sale["delegates"]]
    return [*lines, *(f"! {clean(each)}" for each in sale["warnings"])]


def rehearsal_lines(sale: Mapping[str, Any]) -> list[str]:
    """Return who would keep the keys, and what the chain would cost."""
    rows = sale["quote"]["transactions"]
    gas = [f"  gas {each['gas']:>9,}  {clean(each['summary'])}" for each in rows if each["gas"] is not None]
    total = sum(each["gas"] or 0 for each in rows)
    return [*sale_lines(sale), *gas, f"  gas {total:>9,}  in all", *quote_lines(sale["quote"])[-1:]]


def _unix_s(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{clean(text[:40])!r} is no time: write 2027-01-31 or 2027-01-31T18:00") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
