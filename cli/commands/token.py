"""marina token: access tokens for scripts and programs."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="print a new token once")
    create.add_argument(
        "--scope", action="append", required=True, help="read_music, write_music, …; repeatable"
    )
    create.add_argument("--ttl", default="15m", help="15m, 12h, 30d, 365d (default 15m)")
    create.add_argument("--name", default="script")
    actions.add_parser("list", help="tokens that are valid")
    revoke = actions.add_parser("revoke", help="end a token at once")
    revoke.add_argument("id")


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one of the actions."""
    daemon = Daemon(console)
    if args.action == "create":
        facts = daemon.post("/api/v1/tokens", {"scopes": args.scope, "ttl": args.ttl, "name": args.name})
        console.result(facts, facts["token"])
        console.hint("Keep it like a password: it is shown once. Revoke: marina token revoke " + facts["id"])
    elif args.action == "list":
        facts = daemon.get("/api/v1/tokens")
        rows = [
            (each["id"], each["name"], " ".join(each["scopes"]), each["until"]) for each in facts["items"]
        ]
        console.result(
            facts, console.table(("id", "name", "scopes", "until"), rows) if rows else "No tokens."
        )
    else:
        console.result(daemon.delete(f"/api/v1/tokens/{args.id}"), "Revoked.")
    return 0
