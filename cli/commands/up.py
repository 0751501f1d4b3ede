"""marina up: create the node if there is none, run it, and print a link to the player."""

from __future__ import annotations

import argparse
import shutil
from typing import Any

from cli.commands.daemon import run_node, setting_flags
from cli.console import Console, clean, human_bytes
from cli.kubo_notice import local_kubo
from cli.start import (
    create_node,
    is_initialised,
    load,
    new_passphrase,
    passphrase_sources,
    running,
    show_words,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--passphrase-fd", type=int, metavar="N", help="read the passphrase from descriptor N"
    )
    parser.add_argument("--quota", help="most disk to use, like 50GB (only for a new node)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one setting"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Create, start, print the link; Ctrl-C stops the node."""
    daemon = running(console)
    if daemon is not None:
        link = daemon.post("/api/v1/player-link", {})["link"]
        console.result({"link": link}, f"The node runs already. Player: {link}  (valid for 60 s)")
        return 0
    sources = passphrase_sources(args.passphrase_fd)
    if is_initialised(console):
        passphrase = sources.read()
    else:
        console.hint(f"Creating a node in {console.home}")
        passphrase = new_passphrase(console, sources)
        words = create_node(console, passphrase, flags={"storage.quota": args.quota} if args.quota else {})
        console.hint(show_words(words))
        settings = load(console, setting_flags(args.set))
        free = shutil.disk_usage(console.home).free
        console.hint(
            f"  storage   {human_bytes(settings.storage.quota_bytes)} of {human_bytes(free)} free"
            "   (marina config set storage.quota 50GB)"
        )
        console.hint("  privacy   what you play, search and like stays on this disk")
    args.passphrase, args.command_is_service = passphrase, False
    kubo = None if load(console, setting_flags(args.set)).ipfs.kubo else local_kubo()

    def announce(node: Any) -> None:
        from node.api.scopes import PLAYER_SCOPES

        link = f"{node.api.url}/#code={node.codes.issue(PLAYER_SCOPES)}"
        services = node.services
        facts = {"link": link, "peer": services.host.peer_id, "url": node.api.url}
        console.result(
            facts,
            [
                f"  identity  {services.host.peer_id}",
                f"Player  {link}  (valid for 60 s, once; again: marina up)",
            ],
        )
        if kubo is not None:
            console.hint(
                f"  ipfs      Kubo {clean(kubo)} runs here; it can keep what you publish: marina ipfs pair"
            )
        console.hint("Ctrl-C stops the node.")

    run_node(args, console, announce=announce)
    return 0
