"""marina key: the recovery words, the passphrase, locking and unlocking."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from cli.api import Daemon
from cli.console import Console
from cli.start import is_initialised, passphrase_sources, read_words, running, show_words
from marina.errors import NotFoundError

if TYPE_CHECKING:
    from marina.secret import Secret
    from storage.identity.owner import Owner
    from storage.identity.unlock import PassphraseSources

ACTIONS = {
    "words": "show the 24 words, after the passphrase",
    "lock": "forget the secrets; the node goes on serving",
    "unlock": "open the vault",
    "passphrase": "change the passphrase",
    "reset": "set a new passphrase by the 24 words; the daemon must not run",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    _add_passphrase(parser, default=None)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in ACTIONS.items():
        action = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name in ("words", "unlock", "passphrase"):
            # Also here, where people type it; what stands before the action holds when this one is absent.
            _add_passphrase(action, default=argparse.SUPPRESS)
        if name in ("passphrase", "reset"):
            action.add_argument(
                "--new-passphrase-fd", type=int, metavar="N", help="read the new passphrase from descriptor N"
            )
        if name == "reset":
            action.add_argument("--words-fd", type=int, metavar="N", help="read the words from descriptor N")


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one of the actions."""
    if not is_initialised(console):
        raise NotFoundError(f"{console.home} has no node: make one with 'marina init' or 'marina up'")
    if args.action == "lock":
        console.result(Daemon(console).post("/api/v1/key/lock", {}), "Locked.")
        return 0
    if args.action == "reset":
        return _reset(args, console)
    sources = passphrase_sources(args.passphrase_fd)
    passphrase = sources.read()
    if args.action == "words":
        words = _words(console, passphrase)
        console.result({"words": words}, show_words(words))
    elif args.action == "unlock":
        facts = Daemon(console).post("/api/v1/key/unlock", {"passphrase": passphrase.reveal()})
        console.result(facts, "Unlocked.")
    else:
        _change(console, passphrase, _new_passphrase(args.new_passphrase_fd, console))
        console.result({"changed": True}, "The passphrase is changed.")
        _remind(console, sources)
    return 0


def _add_passphrase(parser: argparse.ArgumentParser, *, default: object) -> None:
    parser.add_argument(
        "--passphrase-fd",
        type=int,
        metavar="N",
        default=default,
        help="read the passphrase from descriptor N",
    )


def _new_passphrase(descriptor: int | None, console: Console) -> Secret[str]:
    """Return the new passphrase, from its own descriptor or typed twice, never from where the old one is."""
    from storage.identity.unlock import PassphraseSources, terminal_prompt

    if descriptor is None:
        console.hint("Now the new one, of at least 8 characters.")
    prompt = terminal_prompt if sys.stdin.isatty() else _nobody_to_ask
    return PassphraseSources(descriptor=descriptor, prompt=prompt).read_new()


def _nobody_to_ask(_: str) -> str:
    from storage.identity.errors import PassphraseMissingError

    raise PassphraseMissingError(
        "a new passphrase is needed and there is no terminal to ask for it: give --new-passphrase-fd N"
    )


def _words(console: Console, passphrase: Secret[str]) -> list[str]:
    daemon = running(console)
    if daemon is not None:
        words: list[str] = daemon.post("/api/v1/key/words", {"passphrase": passphrase.reveal()})["words"]
        return words
    return _owner(console).words(passphrase).reveal().split()


def _change(console: Console, old: Secret[str], new: Secret[str]) -> None:
    from storage.lock import HomeLock
    from storage.paths import Home

    daemon = running(console)
    if daemon is not None:
        daemon.post("/api/v1/key/passphrase", {"passphrase": old.reveal(), "newPassphrase": new.reveal()})
        return
    with HomeLock(Home(console.home).daemon_lock):
        _owner(console).change_passphrase(old, new)


def _reset(args: argparse.Namespace, console: Console) -> int:
    from storage.identity.words import parse_words
    from storage.lock import HomeLock
    from storage.paths import Home

    with HomeLock(Home(console.home).daemon_lock):
        words = parse_words(read_words(args.words_fd))
        new = _new_passphrase(args.new_passphrase_fd, console)
        _owner(console).reset_passphrase(words, new)
    console.result({"changed": True}, "The passphrase is changed.")
    _remind(console, passphrase_sources(None))
    return 0


def _owner(console: Console) -> Owner:
    from marina.clock import SystemClock
    from storage.identity.owner import Owner

    return Owner.open(console.home, clock=SystemClock())


def _remind(console: Console, sources: PassphraseSources) -> None:
    """Say that a stored passphrase is the old one: the node would not start with it."""
    stored = sources.credential or sources.file
    if stored is not None:
        console.hint(f"{stored} holds the old one: write the new one there before the next start.")
