"""marina init: create the node without starting it, or restore its owner from the 24 words."""

from __future__ import annotations

import argparse

from cli.console import Console
from cli.start import (
    create_node,
    is_initialised,
    new_passphrase,
    operator_settings,
    passphrase_sources,
    read_words,
    show_words,
)
from marina.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--restore", action="store_true", help="ask for the 24 words of an existing account")
    parser.add_argument("--words-fd", type=int, metavar="N", help="read the words from descriptor N")
    parser.add_argument(
        "--passphrase-fd", type=int, metavar="N", help="read the passphrase from descriptor N"
    )
    parser.add_argument("--quota", help="most disk to use, like 50GB")
    parser.add_argument("--role", choices=("listener", "artist", "operator"), default="listener")


def run(args: argparse.Namespace, console: Console) -> int:
    """Make the identity; refuses a home that has one."""
    from storage.identity.words import parse_words

    if is_initialised(console):
        raise UsageError(f"{console.home} has a node already: start it with 'marina up'")
    words = parse_words(read_words(args.words_fd)) if args.restore else None
    sources = passphrase_sources(args.passphrase_fd)
    passphrase = new_passphrase(console, sources)
    flags = {"storage.quota": args.quota} if args.quota else {}
    if args.role == "operator":
        flags = operator_settings(args.quota)
    made = create_node(console, passphrase, words=words, flags=flags)
    shown = None if words else made
    text = f"Restored the account in {console.home}." if words else f"Created a node in {console.home}."
    console.result(
        {"home": str(console.home), "words": shown}, [text, *([show_words(made)] if shown else [])]
    )
    return 0
