"""marina repo: what is stored and why, whether it is sound, and making room."""

from __future__ import annotations

import argparse

from cli.api import Daemon
from cli.console import Console, clean, counted, human_bytes
from cli.start import is_initialised, load
from marina.errors import NotFoundError, UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    stat = actions.add_parser("stat", help="bytes by class, against the quota")
    stat.add_argument("--why", action="store_true", help="every root and why it is kept")
    verify = actions.add_parser("verify", help="hash everything; exit 8 if something is damaged")
    verify.add_argument("--heal", action="store_true", help="fetch again what is damaged or missing")
    actions.add_parser("repair", help="mend a damaged database; the daemon must not run")
    move = actions.add_parser("move", help="keep blocks elsewhere from now on; the daemon must not run")
    move.add_argument("engine", choices=("embedded", "kubo"), help="on this disk, or in the paired Kubo node")
    gc = actions.add_parser("gc", help="remove what nothing protects")
    gc.add_argument("--dry-run", action="store_true")


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one of the actions."""
    if args.action == "repair":
        return _repair(console)
    if args.action == "move":
        return _move(args, console)
    daemon = Daemon(console)
    if args.action == "stat":
        return _stat(daemon, args, console)
    if args.action == "verify":
        return _verify(daemon, args, console)
    facts = daemon.post("/api/v1/repo/gc", {"dry_run": args.dry_run})
    verb = "Would free" if args.dry_run else "Freed"
    rows = [
        f"  {clean(each['title'])}  {human_bytes(each['bytes'])}  {each['why']}" for each in facts["evicted"]
    ]
    console.result(
        facts, [f"{verb} {human_bytes(facts['bytes'])} in {counted(len(rows), 'rendition')}.", *rows]
    )
    return 0


def _repair(console: Console) -> int:
    import trio

    from marina.clock import SystemClock
    from storage.lock import HomeLock
    from storage.paths import Home
    from storage.repair import repair_database

    home = Home(console.home)
    if not is_initialised(console):
        raise NotFoundError(f"{console.home} has no node: make one with 'marina init' or 'marina up'")

    async def repair() -> str:
        return str(await repair_database(home.meta, home.backups, clock=SystemClock()))

    with HomeLock(home.daemon_lock):
        saved = trio.run(repair)
    console.result({"saved": saved}, f"Mended. The database as it was is in {saved}.")
    console.hint("Start the node and check what is left: marina repo verify --heal")
    return 0


def _move(args: argparse.Namespace, console: Console) -> int:
    from contextlib import aclosing

    import trio

    from marina.clock import SystemClock
    from node.ipfs.wiring import kubo_address
    from node.settings_load import set_value
    from storage.kubo.move import Move, MoveProgress
    from storage.kubo.rpc import KuboRpc
    from storage.lock import HomeLock
    from storage.migrations import open_database
    from storage.paths import Home

    home = Home(console.home)
    if not is_initialised(console):
        raise NotFoundError(f"{console.home} has no node: make one with 'marina init' or 'marina up'")
    address = kubo_address(load(console, {}).ipfs)
    if address is None:
        raise UsageError("no Kubo node is paired: start the daemon and run 'marina ipfs pair URL' first")

    async def move() -> MoveProgress:
        store = await open_database(home.meta, home.backups, clock=SystemClock())
        try:
            work = Move(kv=store, directory=home.blobs, rpc=KuboRpc(address), to=args.engine).run()
            with console.progress("Moving") as progress:
                async with aclosing(work) as steps:
                    async for step in steps:
                        progress.update({"done": step.bytes, "total": step.total_bytes, "unit": "bytes"})
                return step
        finally:
            await store.close()

    with HomeLock(home.daemon_lock):
        done = trio.run(move)
        set_value(console.home, "storage.backend", args.engine)
    facts = {"engine": args.engine, "blocks": done.blocks, "bytes": done.bytes, "lost": done.lost}
    text = (
        f"Moved {counted(done.blocks, 'block')}, {human_bytes(done.bytes)}. storage.backend is {args.engine}."
    )
    console.result(facts, text)
    if done.lost:
        console.hint(
            f"{counted(done.lost, 'block')} were damaged: fetch them again with marina repo verify --heal"
        )
    return 8 if done.lost else 0


def _stat(daemon: Daemon, args: argparse.Namespace, console: Console) -> int:
    facts = daemon.get("/api/v1/repo/stat", why=int(args.why))
    lines = [
        "   ".join(
            (
                f"storage   {human_bytes(facts['bytes_used'])} of {human_bytes(facts['bytes_quota'])}",
                counted(facts["blocks"], "block"),
                counted(facts["renditions"], "rendition"),
            )
        ),
        *(f"  {name:<10} {human_bytes(size)}" for name, size in facts["by_class"].items()),
    ]
    if args.why and facts["roots"]:
        rows = [
            (
                _what(each),
                human_bytes(each["bytes"]),
                clean(each["why"]),
                (each["release"] or "")[:14],
                each["root"],
            )
            for each in facts["roots"]
        ]
        lines += list(console.table(("what", "size", "why", "in", "root"), rows))
    console.result(facts, lines)
    return 0


def _what(each: dict) -> str:  # type: ignore[type-arg]
    """Return what a block is: its title, its artist, and which part of them."""
    if each["title"] is None:
        return "not in the library"
    return clean(" — ".join(filter(None, (each["title"], each["artist"])))) + f" ({each['kind']})"


def _verify(daemon: Daemon, args: argparse.Namespace, console: Console) -> int:
    result: dict[str, object] = {}
    with console.progress("Checking") as progress:
        for event in daemon.stream("/api/v1/repo/verify", {"heal": args.heal}):
            if event["event"] == "progress":
                progress.update(event)
            else:
                result = event
    damaged, healed = int(str(result.get("damaged", 0))), int(str(result.get("healed", 0)))
    text = f"checked {counted(int(str(result['checked'])), 'block')}, {damaged} damaged or missing"
    console.result(
        result, text + (f", {healed} fetched again, {damaged - healed} not found" if args.heal else "")
    )
    if damaged > healed and args.heal:
        console.hint("Nobody who is connected has the rest. Connect to a node that keeps it, and try again.")
    elif damaged > healed:
        console.hint("Damaged bytes are never served. Fetch them again with: marina repo verify --heal")
    return 8 if damaged > healed else 0
