"""marina publish: encrypt, sign and seed a folder of music; with a price, sell it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cli.api import Daemon
from cli.console import Console, clean, counted, human_bytes
from cli.sale import add_sale_options, is_sold, rehearsal_lines, sale_body, sale_lines
from cli.spend import add_spend_options, settled_lines, spend


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("path", type=Path, help="a folder (one release) or one audio file")
    parser.add_argument("--title", help="release title (default: the album tag, or the folder's name)")
    parser.add_argument("--artist", help="release artist (default: from the tags)")
    parser.add_argument(
        "--terms", help="licence of the music (default CC-BY-4.0; all-rights-reserved when it is sold)"
    )
    parser.add_argument("--tag", action="append", default=[], help="a tag for every track; repeatable")
    parser.add_argument("--replicas", type=int, default=0, metavar="N", help="ask N operators to keep it")
    add_sale_options(parser)
    add_spend_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Publish and print the release id, what it took, and what to do next."""
    daemon = Daemon(console)
    sale = sale_body(args)
    body = {
        "path": str(args.path.expanduser().absolute()),
        "title": args.title,
        "artist": args.artist,
        "terms": args.terms,
        "tags": args.tag,
        "replicas": args.replicas,
        "dry_run": args.dry_run,
    }
    if sale is not None:
        body["sale"] = {**sale, "account": args.account, "max_fee": args.max_fee}
    result: dict[str, Any] = {}
    with console.progress("Publishing") as progress:
        for event in daemon.stream("/api/v1/publish", body):
            if event["event"] == "progress":
                progress.update(event)
            elif event["event"] == "result":
                result = event
    lines = _lines(result, is_dry_run=args.dry_run)
    if sale is not None and not args.dry_run:
        # What is signed is shown before money is asked for: were that refused, the release is there.
        for line in () if console.is_json else lines:
            console.hint(line)
        done = spend(
            daemon, console, args, f"/api/v1/releases/{result['release']}/sell", sale, is_shown=False
        )
        warnings = done["quote"]["warnings"]
        result |= {"transactions": done["transactions"], "sold": True}
        result["warnings"] = [*result["warnings"], *warnings]
        lines = [f"{_name(result)}  {result['release']}", *settled_lines(done)]
        lines += [f"! {clean(each)}" for each in warnings]
    console.result(result, lines)
    if result.get("missing"):
        console.hint(
            f"{counted(result['missing'], 'block')} could not be made again from these files. Fetch what is "
            "missing from peers: marina repo verify --heal"
        )
    return 8 if result.get("skipped") or result.get("missing") else 0


def _lines(result: dict, *, is_dry_run: bool) -> list[str]:  # type: ignore[type-arg]
    lines = [f"! {clean(warning)}" for warning in result.get("warnings", [])]
    lines += [f"skipped {clean(each['file'])}: {clean(each['reason'])}" for each in result.get("skipped", [])]
    tracks = result["tracks"]
    lines += [
        f"  {i:>2}  {clean(' — '.join(filter(None, (track['title'], track['artist']))))}"
        for i, track in enumerate(tracks, 1)
    ]
    if is_dry_run:
        count, size = counted(len(tracks), "track"), human_bytes(result["bytes"])
        lines += [_name(result), f"{count}, about {size} to store. Nothing was written."]
        return [*lines, *rehearsal_lines(result["sale"])] if is_sold(result) else lines
    return [
        *lines,
        f"{_name(result)}{_again(result)}",
        f"release   {result['release']}",
        f"manifest  {result['cid']}",
        f"stored    {human_bytes(result['bytes'])} encrypted",
        *(sale_lines(result["sale"]) if is_sold(result) else []),
        "Share it: marina share " + str(result["release"])[:14],
    ]


def _again(result: dict) -> str:  # type: ignore[type-arg]
    """Return what publishing did to a release that was published before."""
    if not result.get("is_unchanged"):
        return ""
    segments, blocks = result["repaired"]["segments"], result["repaired"]["blocks"]
    parts = [counted(segments, "segment")] if segments else []
    parts += [counted(blocks, "small block")] if blocks else []
    if not parts:
        return "  (published before; nothing changed)"
    return f"  (published before; repaired {' and '.join(parts)} of {clean(result['title'])})"


def _name(result: dict) -> str:  # type: ignore[type-arg]
    return f"{clean(result['title'])} — {clean(result['artist'] or 'no artist')}"
