"""Making a home and running its daemon: what ``up``, ``init``, ``daemon`` and ``join`` share."""

from __future__ import annotations

import logging
import logging.handlers
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from cli.api import Daemon
from cli.console import Console
from marina.errors import DaemonNotRunningError, MarinaError, UsageError
from storage.paths import Home

if TYPE_CHECKING:
    from marina.secret import Secret
    from node.settings import Settings
    from storage.identity.unlock import PassphraseSources

START_TIMEOUT_S = 30.0
PASSPHRASE_TRIES = 3
WORDS_CHARS_MAX = 4096
WORDS_TEXT = """
These 24 words are your account. Whoever has them is you; without them a lost disk is lost.
Write them down now, on paper. They are shown again only after your passphrase: marina key words
"""


class NotStartedError(MarinaError):
    """The daemon ended before it was ready; the exit code is its own."""

    code = "not_started"

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code if 0 < exit_code < 128 else MarinaError.exit_code


def passphrase_sources(descriptor: int | None) -> PassphraseSources:
    """Return where a passphrase may come from: credential, file, descriptor, terminal."""
    from storage.identity.unlock import PassphraseSources, terminal_prompt

    prompt = terminal_prompt if sys.stdin.isatty() else _nobody_to_ask
    return PassphraseSources.from_environment(os.environ, descriptor=descriptor, prompt=prompt)


def new_passphrase(console: Console, sources: PassphraseSources) -> Secret[str]:
    """Return the passphrase of a new node; a person who mistypes is asked again, a script is not.

    Raises:
        MarinaError: the last of the tries was no good either, or the source that is no person.
    """
    from storage.identity.unlock import PassphraseSources

    is_typed = sys.stdin.isatty() and sources == PassphraseSources(prompt=sources.prompt)
    if is_typed:
        console.hint("Choose a passphrase of at least 8 characters: it seals your keys on this disk.")
    for _ in range(PASSPHRASE_TRIES - 1 if is_typed else 0):
        try:
            return sources.read_new()
        except UsageError as err:  # too weak, or typed differently the second time
            console.hint(f"{str(err)[0].upper()}{str(err)[1:]}.")
    return sources.read_new()


def _nobody_to_ask(_: str) -> str:
    from storage.identity.errors import PassphraseMissingError

    raise PassphraseMissingError(
        "a passphrase is needed and there is no terminal to ask for it: give --passphrase-fd N, or set "
        "MARINA_PASSPHRASE_FILE to the path of a file with mode 0600"
    )


def read_words(descriptor: int | None) -> str:
    """Return the 24 words as they were given, from a descriptor or typed without echo.

    Raises:
        UsageError: there is neither, or the descriptor gives no text.
    """
    from storage.identity.unlock import terminal_prompt

    if descriptor is None:
        if not sys.stdin.isatty():
            raise UsageError("the words come from the terminal or from --words-fd N")
        return terminal_prompt("The 24 words: ")
    text: str | None
    try:
        with open(descriptor, encoding="utf-8") as source:  # noqa: PTH123 - a descriptor, not a path
            text = source.read(WORDS_CHARS_MAX)
    except (OSError, UnicodeDecodeError):
        text = None
    if text is None:  # raised out here because a decoding error holds what was read
        raise UsageError(
            f"descriptor {descriptor} gives no text: give --words-fd the number of an open descriptor"
        )
    return text


def create_node(
    console: Console, passphrase: Secret[str], *, words: Secret[str] | None = None, flags: dict[str, str]
) -> list[str]:
    """Make an identity in the home and return its words; with ``words`` restore that identity.

    Raises:
        StorageError: there is one already.
    """
    from marina.clock import SystemClock
    from node.settings_load import set_value
    from storage.identity.owner import Owner

    home = Home(console.home)
    home.create()
    owner = Owner.create(home.root, passphrase, clock=SystemClock(), words=words)
    for key, value in flags.items():
        set_value(home.root, key, value)
    return owner.words(passphrase).reveal().split()


def operator_settings(quota: str | None) -> dict[str, str]:
    """Return the settings of an operator, in an order in which each fits those before it."""
    space = {"storage.quota": quota, "operator.offered": quota} if quota else {}
    return {**space, "operator.accept_pledges": "true"}


def is_initialised(console: Console) -> bool:
    """Return whether the home has an identity."""
    return Home(console.home).vault.exists()


def load(console: Console, flags: dict[str, object] | None = None) -> Settings:
    """Return the home's settings."""
    from node.settings_load import load_settings

    return load_settings(console.home, environ=os.environ, flags=flags).settings


def set_up_logging(console: Console, settings: Settings, *, to_stderr: bool) -> None:
    """Send logs to the home's log file, and to stderr for services and ``-v``."""
    from marina.log import JsonFormatter, set_up

    home = Home(console.home)
    home.logs.mkdir(mode=0o700, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        home.logs / "marina.log", maxBytes=settings.log.file_size_bytes, backupCount=settings.log.kept_files
    )
    (home.logs / "marina.log").chmod(0o600)
    handler.setFormatter(JsonFormatter())
    set_up(settings.log.level)
    # It keeps its records to itself, and without a handler Python prints them bare on the terminal.
    library = logging.getLogger("libp2p")
    library.propagate, library.level = True, logging.NOTSET
    # It calls it an error when a peer lacks a protocol, as an IPFS node lacks ours; callers hear of it too.
    logging.getLogger("libp2p.host.basic_host").setLevel(logging.CRITICAL)
    root = logging.getLogger()
    root.handlers[:] = [handler, *(root.handlers if to_stderr else [])]


def show_words(words: list[str]) -> str:
    """Return the words in four numbered columns."""
    rows = ["   ".join(f"{i + 1:>2} {words[i]:<9}" for i in range(row, 24, 6)).rstrip() for row in range(6)]
    return "\n".join(["", *("    " + row for row in rows), WORDS_TEXT])


def running(console: Console) -> Daemon | None:
    """Return the home's daemon if one answers."""
    try:
        daemon = Daemon(console)
    except DaemonNotRunningError:
        return None
    return daemon if daemon.is_running() else None


def ensure_daemon(console: Console, *, passphrase_fd: int | None, settings: dict[str, str]) -> None:
    """Make the node if there is none, and start its daemon in the background if none runs.

    Raises:
        MarinaError: it did not start; the message says where to look.
    """
    sources = passphrase_sources(passphrase_fd)
    if not is_initialised(console):
        passphrase = new_passphrase(console, sources)
        words = create_node(console, passphrase, flags=settings)
        console.hint(show_words(words))
    elif running(console):
        return
    else:
        passphrase = sources.read()
    _spawn(console, passphrase)


def _spawn(console: Console, passphrase: Secret[str]) -> None:
    """Start ``marina daemon`` detached; the passphrase goes through a pipe."""
    with tempfile.TemporaryFile() as said:
        _wait_started(console, _detached(console, passphrase, said), said)


def _detached(console: Console, passphrase: Secret[str], said: IO[bytes]) -> subprocess.Popen[bytes]:
    reader, writer = os.pipe()
    command = [
        *(sys.executable, "-m", "cli", "--home", str(console.home)),
        *("daemon", "--quiet", "--passphrase-fd", str(reader)),
    ]
    process = subprocess.Popen(
        command,
        pass_fds=[reader],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=said,  # quiet, so it says one sentence, and only when it fails
        start_new_session=True,
    )
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(passphrase.reveal().encode() + b"\n")
    return process


def _wait_started(console: Console, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if running(console):
            return
        code = process.poll()
        if code is not None:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            why = lines[-1].removeprefix("marina: ") if lines else f"exit code {code}, see 'marina logs'"
            raise NotStartedError(f"the node did not start: {why}", code)
        time.sleep(0.1)
    raise MarinaError(f"the node did not answer within {START_TIMEOUT_S:.0f} s: see 'marina logs'")


def log_file(console: Console) -> Path:
    """Return the current log file."""
    return Home(console.home).logs / "marina.log"
