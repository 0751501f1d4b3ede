"""marina config: show and change settings; works without the daemon."""

from __future__ import annotations

import argparse
import os

from cli.console import Console
from cli.start import is_initialised, running
from marina.errors import NotFoundError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="every setting")
    show.add_argument("--origin", action="store_true", help="also where each value comes from")
    get = actions.add_parser("get", help="one setting")
    get.add_argument("key")
    change = actions.add_parser("set", help="write one setting into config.toml")
    change.add_argument("key")
    change.add_argument("value")


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one of the actions."""
    from node.settings_load import load_settings, set_value
    from node.settings_schema import find_key

    if args.action == "set":
        if not is_initialised(console):
            raise NotFoundError(f"{console.home} has no node yet: make one with 'marina init' or 'marina up'")
        set_value(console.home, args.key, args.value)
        console.result({args.key: args.value}, f"{args.key} is set.")
        if running(console):
            console.hint("The running node keeps its old value until it is restarted.")
        return 0
    origins = load_settings(console.home, environ=os.environ).origins
    if args.action == "get":
        find_key(args.key)
        origins = tuple(each for each in origins if each.key == args.key)
        console.result({each.key: each.value for each in origins}, [_text(each.value) for each in origins])
        return 0
    data = [{"key": each.key, "value": each.value, "origin": each.origin} for each in origins]
    if args.origin:
        rows = [(each.key, _text(each.value), each.origin) for each in origins]
        lines = console.table(("setting", "value", "origin"), rows)
    else:
        lines = console.table(("setting", "value"), [(each.key, _text(each.value)) for each in origins])
    console.result({"items": data}, lines)
    return 0


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"  # as it is typed
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
