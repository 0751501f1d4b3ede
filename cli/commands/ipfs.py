"""marina ipfs: pair this node with a Kubo node, which keeps what its owner publishes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cli.api import Daemon
from cli.console import Console, clean, counted, human_bytes
from cli.kubo_notice import DEFAULT_URL, local_kubo


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands; none shows the status."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("status", help="which Kubo node it is, and which releases it keeps")
    pair = actions.add_parser("pair", help="let a Kubo node pin and announce what you publish")
    pair.add_argument("url", nargs="?", default=DEFAULT_URL, help=f"its RPC address ({DEFAULT_URL})")
    pair.add_argument(
        "--token-file", metavar="FILE", help="what its API.Authorizations asks for, readable by you alone"
    )
    unpair = actions.add_parser("unpair", help="end that; what is pinned there stays")
    unpair.add_argument("--unpin", action="store_true", help="take the pins back first")


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one of the actions."""
    daemon = Daemon(console)
    if args.action == "pair":
        body = {"url": args.url}
        if args.token_file:
            body["token_file"] = str(Path(args.token_file).expanduser().absolute())
        facts = daemon.post("/api/v1/ipfs", body)
        console.result(
            facts, f"Paired with {clean(facts['agent'])} {clean(facts['peer'])} at {facts['url']}."
        )
        console.hint(
            "It pins your releases and tells its network of them, also after a restart: marina ipfs status"
        )
        return 0
    if args.action == "unpair":
        facts = daemon.post("/api/v1/ipfs/unpair", {"unpin": args.unpin})
        stays = f"; {counted(facts['kept'], 'release')} stay pinned there" if facts["kept"] else ""
        console.result(facts, f"Not paired any more{stays}.")
        return 0
    facts = daemon.get("/api/v1/ipfs")
    console.result(facts, _lines(facts, console))
    is_well = not facts["paired"] or (facts["answers"] and all(_is_well(each) for each in facts["releases"]))
    return 0 if is_well else 8


def _is_well(release: dict[str, Any]) -> bool:
    return bool(release["pinned"])


def _lines(facts: dict[str, Any], console: Console) -> list[str]:
    if not facts["paired"]:
        version = local_kubo()
        if version is not None:
            return [f"Not paired. Kubo {clean(version)} runs on this machine: marina ipfs pair"]
        return ["Not paired with a Kubo node. With one: marina ipfs pair URL"]
    if not facts["answers"]:
        lines = [f"Paired with {facts['url']}, which does not answer: {clean(facts['problem'])}"]
    else:
        size, most = human_bytes(facts["bytes"]), human_bytes(facts["bytes_max"])
        lines = [
            f"Paired with {clean(facts['agent'])} {clean(facts['peer'])} at {facts['url']}",
            f"it stores {size} and means to keep at most {most}",
        ]
    if facts["backend"] == "kubo":
        lines.append("The blocks of this node are in it (storage.backend = kubo).")
    rows = [(str(each["cid"]), _state(each), clean(each["problem"] or "")) for each in facts["releases"]]
    if rows:
        lines += list(console.table(("release", "state", ""), rows))
    else:
        lines.append("Nothing to pin yet: it will have what you publish.")
    return lines


def _state(release: dict[str, Any]) -> str:
    if not release["pinned"]:
        return "to be unpinned" if release["withdrawn"] else "to be pinned"
    return "pinned, announced" if release["announced"] else "pinned, not announced"
