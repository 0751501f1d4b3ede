"""marina key: the recovery words, the passphrase, locking and unlocking."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console
from cli.start import passphrase_sources, running, show_words


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    parser.add_argument(
        "--passphrase-fd", type=int, metavar="N", help="read the passphrase from descriptor N"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("words", help="show the 24 words, after the passphrase")
    actions.add_parser("lock", help="forget the secrets; the node goes on serving")
    actions.add_parser("unlock", help="open the vault")
    actions.add_parser("passphrase", help="change the passphrase")
    actions.add_parser("reset", help="set a new passphrase by the 24 words; the daemon must not run")


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one of the actions."""
    from storage.identity.unlock import PassphraseSources

    if args.action == "lock":
        console.result(Daemon(console).post("/api/v1/key/lock", {}), "Locked.")
        return 0
    if args.action == "reset":
        return _reset(console)
    sources = passphrase_sources(args.passphrase_fd)
    passphrase = sources.read()
    if args.action == "words":
        words = _words(console, passphrase)
        console.result({"words": words}, show_words(words))
    elif args.action == "unlock":
        facts = Daemon(console).post("/api/v1/key/unlock", {"passphrase": passphrase.reveal()})
        console.result(facts, "Unlocked.")
    else:
        console.hint("Now the new one.")
        new = PassphraseSources(prompt=sources.prompt).read_new()
        body = {"passphrase": passphrase.reveal(), "newPassphrase": new.reveal()}
        console.result(Daemon(console).post("/api/v1/key/passphrase", body), "Changed.")
    return 0


def _words(console: Console, passphrase: object) -> list[str]:
    from marina.clock import SystemClock
    from marina.secret import Secret
    from storage.identity.owner import Owner

    assert isinstance(passphrase, Secret)
    daemon = running(console)
    if daemon is not None:
        words: list[str] = daemon.post("/api/v1/key/words", {"passphrase": passphrase.reveal()})["words"]
        return words
    owner = Owner.open(console.home, clock=SystemClock())
    return owner.words(passphrase).reveal().split()


def _reset(console: Console) -> int:
    from marina.clock import SystemClock
    from storage.identity.owner import Owner
    from storage.identity.unlock import PassphraseSources, terminal_prompt
    from storage.identity.words import parse_words
    from storage.lock import HomeLock
    from storage.paths import Home

    with HomeLock(Home(console.home).daemon_lock):
        words = parse_words(terminal_prompt("The 24 words: "))
        new = PassphraseSources(prompt=terminal_prompt).read_new()
        Owner.open(console.home, clock=SystemClock()).reset_passphrase(words, new)
    console.result({"changed": True}, "The passphrase is changed.")
    return 0
