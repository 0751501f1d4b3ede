"""marina daemon: the node in the foreground, for services; logs go to stderr as JSON."""

from __future__ import annotations

import argparse

from cli.console import Console
from cli.start import is_initialised, load, passphrase_sources, set_up_logging
from marina.errors import NotFoundError
from storage.paths import Home


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--passphrase-fd", type=int, metavar="N", help="read the passphrase from descriptor N"
    )
    parser.add_argument("--locked", action="store_true", help="start locked: serve and play, sign nothing")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one setting"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Run until SIGINT or SIGTERM."""
    if not is_initialised(console):
        raise NotFoundError(f"{console.home} has no node: make one with 'marina init' or 'marina up'")
    run_node(args, console, announce=lambda running: console.hint(f"Ready at {running.api.url}"))
    return 0


def run_node(args: argparse.Namespace, console: Console, *, announce: object) -> None:
    """Run the node in this process; ``announce(running)`` is called once it is ready."""
    settings = load(console, setting_flags(args.set))
    passphrase = None
    if not getattr(args, "locked", False):
        sources = passphrase_sources(args.passphrase_fd)
        passphrase = getattr(args, "passphrase", None) or sources.read()
    is_service = getattr(args, "command_is_service", True) and not console.is_quiet
    import trio

    # First, because its libraries set up logs of their own when they are imported.
    from node.daemon import run_daemon

    set_up_logging(console, settings, to_stderr=is_service or console.is_verbose)

    async def main() -> None:
        await run_daemon(
            home=Home(console.home),
            settings=settings,
            passphrase=passphrase,
            on_ready=announce,  # type: ignore[arg-type]
        )

    _unwrapped(lambda: trio.run(main))


def setting_flags(typed: list[str]) -> dict[str, object]:
    """Return the settings that ``--set KEY=VALUE`` overrides."""
    return dict(each.partition("=")[::2] for each in typed)


def _unwrapped(work: object) -> None:
    """Run, and raise the one expected error out of the nested groups of the nurseries."""
    from marina.errors import MarinaError

    try:
        work()  # type: ignore[operator]
    except BaseExceptionGroup as group:
        expected = group.subgroup(MarinaError)
        while isinstance(expected, BaseExceptionGroup):
            first = expected.exceptions[0]
            if isinstance(first, MarinaError):
                raise first from group
            expected = first if isinstance(first, BaseExceptionGroup) else None
        raise
