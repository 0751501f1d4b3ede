"""marina restore: check a backup, or restore it into an empty home, with the 24 words."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cli.console import Console, human_bytes
from cli.start import read_words


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", type=Path)
    parser.add_argument("--check", action="store_true", help="read all of it and write nothing")
    parser.add_argument("--words-fd", type=int, metavar="N", help="read the words from descriptor N")


def run(args: argparse.Namespace, console: Console) -> int:
    """Check or restore."""
    import os

    import trio

    from storage.backup import BackupKey, check_backup, restore_backup
    from storage.identity.derive import derive_keys
    from storage.identity.typed_data import account_of_key
    from storage.identity.words import parse_words, words_seed
    from storage.kv import LevelKv
    from storage.paths import Home

    keys = derive_keys(words_seed(parse_words(read_words(args.words_fd))))
    key = BackupKey(account_of_key(keys.account_key.reveal()), keys.backup_key)
    if args.check:
        summary: Any = check_backup(args.file, key)
    else:
        os.umask(0o077)  # the database makes its files itself

        async def restore() -> Any:
            async def open_store(path: Path) -> LevelKv:
                return await trio.to_thread.run_sync(LevelKv, path)

            return await restore_backup(args.file, key, console.home, open_store=open_store)

        summary = trio.run(restore)
        Home(console.home).create()
    size = human_bytes(args.file.stat().st_size)
    what = "is sound" if args.check else f"is restored in {console.home}; start it with 'marina up'"
    console.result(
        {"file": str(args.file), "checked": True, "restored": not args.check}, f"{args.file} ({size}) {what}."
    )
    del summary
    return 0
