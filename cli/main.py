"""The ``marina`` command: finds the subcommand, loads only its module, turns errors into exit codes.

Nothing heavy is imported here, so that ``marina --version`` answers in a blink.
"""

from __future__ import annotations

import argparse
import re
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import NoReturn

from marina import __version__

COMMANDS: dict[str, str] = {
    "up": "create the node if needed, start it, and print a link to the player",
    "init": "create the node, or restore its owner from the 24 words",
    "daemon": "run the node in the foreground, for services",
    "stop": "stop the running node",
    "status": "what the node is doing",
    "id": "who this node and its owner are",
    "doctor": "check everything and say how to fix what is wrong",
    "key": "recovery words, passphrase, lock and unlock",
    "device": "devices bound to this account",
    "config": "show and change settings",
    "publish": "publish a folder or file of music",
    "release": "list, update and withdraw what you published",
    "share": "print a link and QR code for a release or track",
    "join": "become an operator with the link of a release",
    "find": "search the library and the swarm",
    "show": "all about one track or release",
    "play": "play a track, a release or a link",
    "get": "fetch a track completely, or save it as a file",
    "why": "who sent a track, and which licence, key and payment let it play",
    "terms": "what a track or release is sold for",
    "buy": "buy a licence",
    "renew": "extend a licence",
    "gift": "buy a licence for somebody else",
    "tip": "give to whoever earns from a track or release",
    "licence": "what you hold, what was sold; refunds",
    "edition": "limited editions: make, give, buy",
    "earnings": "what your music has earned",
    "withdraw": "be paid what your music has earned",
    "guardian": "keep parts of keys for artists",
    "dao": "proposals, votes, parameters, treasury",
    "wallet": "accounts, balances, sending",
    "faucet": "coins of a development chain",
    "tx": "the transactions that this node made",
    "pin": "keep a release whatever the quota does",
    "peers": "connected peers; connect, ban, unban",
    "repo": "storage: stat, verify, garbage collection",
    "ipfs": "pair with a Kubo node, which keeps what you publish",
    "gateway": "serve this node's blocks over HTTP",
    "backup": "write an encrypted backup of the node's state",
    "restore": "check a backup or restore it into an empty home",
    "chain": "the chain: status, calls, deployment; the embedded development chain",
    "token": "access tokens for scripts",
    "logs": "show the node's log",
}

NEGATION = "\N{MINUS SIGN}"
EPILOG = """exit codes: 0 ok, 1 failed, 2 usage, 3 daemon not running, 4 not found, 5 not permitted or locked,
6 licence needed, 7 network or timeout, 8 partial or degraded, 130 interrupted (resumable)"""


class _Parser(argparse.ArgumentParser):
    """Prints one sentence instead of the whole usage when something is wrong."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"marina: {message}. See '{self.prog} --help'.\n")
        raise SystemExit(2)


def entry() -> NoReturn:
    """Run the command line and exit with its code."""
    sys.exit(main(sys.argv[1:]))


def main(argv: list[str]) -> int:
    """Run one command and return its exit code."""
    if argv in (["--version"], ["-V"]):
        sys.stdout.write(f"marina {__version__}\n")
        return 0
    name = _command_name(argv)
    if name is not None and name not in COMMANDS:
        return _no_command(name)
    parser = _parser(name)
    try:
        # The options that every command has may stand anywhere, so they are taken out first.
        args, rest = _shared_options().parse_known_args([_guarded(word) for word in argv])
        args = parser.parse_args(rest, args)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    if name is None:
        parser.print_help()
        return 2 if argv else 0
    return _run(name, args)


def _guarded(word: str) -> str:
    """Keep argparse from taking a negated query word, like ``-tag:live``, for an option."""
    return NEGATION + word[1:] if re.fullmatch(r"-[a-z]+:.*", word) else word


def _parser(name: str | None) -> _Parser:
    """Return a parser that knows the details of the one command ``name``."""
    shared = _shared_options()
    parser = _Parser(
        prog="marina",
        description="A music network with no company in the middle.",
        epilog=EPILOG,
        parents=[shared],
    )
    parser.add_argument("--version", "-V", action="version", version=f"marina {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)
    for command, text in COMMANDS.items():
        sub = commands.add_parser(
            command, help=text, description=text[0].upper() + text[1:] + ".", parents=[shared]
        )
        if command == name:
            import_module(f"cli.commands.{command}").configure(sub)
    return parser


def _command_name(argv: list[str]) -> str | None:
    skip = False
    for word in argv:
        if skip:
            skip = False
        elif word in ("--home", "--timeout"):
            skip = True
        elif not word.startswith("-"):
            return word
    return None


def _no_command(typed: str) -> int:
    close = get_close_matches(typed, COMMANDS, n=1)
    meant = f"did you mean 'marina {close[0]}'?" if close else "'marina --help' lists them"
    sys.stderr.write(f"marina: there is no command {typed!r}: {meant}\n")
    return 2


def _shared_options() -> _Parser:
    shared = _Parser(add_help=False, argument_default=argparse.SUPPRESS, allow_abbrev=False)
    group = shared.add_argument_group("for every command")
    group.add_argument("--home", metavar="DIR", help="the node's home (default $MARINA_HOME or ~/.marina)")
    group.add_argument("--json", action="store_true", help="one JSON object; one a line for progress")
    group.add_argument("-q", "--quiet", action="store_true", help="only results and errors")
    group.add_argument("-v", "--verbose", action="store_true", help="more detail on stderr")
    group.add_argument("--no-color", action="store_true", help="no colours")
    group.add_argument("--timeout", type=float, metavar="S", help="give up after S seconds")
    group.add_argument("--offline", action="store_true", help="ask nobody but this node")
    return shared


def _run(name: str, args: argparse.Namespace) -> int:
    from cli.console import Console
    from marina.errors import EXIT_INTERRUPTED, MarinaError

    console = Console.from_args(args)
    try:
        code = import_module(f"cli.commands.{name}").run(args, console)
    except MarinaError as err:
        console.fail(err)
        return err.exit_code
    except KeyboardInterrupt:
        console.hint("Interrupted. What was finished is kept; run the same command again to go on.")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`marina find … | head`): nothing is wrong.
        sys.stderr.close()
        return 0
    except OSError as err:
        # A file that the person named: a folder that is not there, no permission, a full disk.
        failed = MarinaError(
            f"{err.filename or 'a file'}: {err.strerror or err}: check the path and the disk"
        )
        console.fail(failed)
        return failed.exit_code
    return int(code or 0)
