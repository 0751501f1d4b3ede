"""marina chain: the embedded development chain."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cli.console import Console
from marina.errors import MarinaError, NotPermittedError

if TYPE_CHECKING:
    from chain.dev.engine import Engine

DEV_DIR = "devchain"
DEV_PORT = 8545


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the actions."""
    actions = parser.add_subparsers(dest="action", required=True)
    dev = actions.add_parser(
        "dev", help="run a development chain in the foreground: one operator, no consensus"
    )
    dev.add_argument(
        "--port",
        type=int,
        default=DEV_PORT,
        metavar="N",
        help=f"port on 127.0.0.1 (default {DEV_PORT}; 0: any)",
    )
    dev.add_argument(
        "--dir", type=Path, metavar="DIR", help=f"the chain's folder (default {DEV_DIR} in the home)"
    )
    dev.add_argument("--fresh", action="store_true", help="erase the folder's chain and begin a new one")
    dev.add_argument("--yes", action="store_true", help="with --fresh: do not ask")


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one action."""
    return {"dev": _dev}[args.action](args, console)


def _dev(args: argparse.Namespace, console: Console) -> int:
    """Run the development chain until Ctrl-C."""
    os.umask(0o077)  # SQLite makes its files itself
    from chain.dev.chain_dir import ChainDir

    folder = ChainDir(args.dir or console.home / DEV_DIR)
    with folder.held():
        if args.fresh and folder.database.exists():
            if not args.yes and not console.ask(f"Erase the chain in {folder.root} for ever?"):
                raise NotPermittedError("nothing was erased: answer y, or pass --yes")
            folder.erase()
        _serve(folder.database, args.port, console)
    return 0


def _serve(database: Path, port: int, console: Console) -> None:
    import logging

    import trio

    from chain.dev.engine import Engine
    from chain.dev.genesis import deploy_contracts, funded, has_these_contracts
    from chain.dev.rpc import DevRpc
    from chain.dev.store import Store
    from marina.clock import SystemClock
    from marina.log import set_up
    from node.devchain import DevChainService, serve_until_signal

    set_up("INFO" if console.is_verbose else "WARNING")
    logging.getLogger("eth").setLevel(logging.ERROR)
    store = Store(database)
    store.open()
    try:
        engine = Engine(store=store, clock=SystemClock(), funded=funded(), predeploy=deploy_contracts)
        engine.open()
        if not has_these_contracts(engine):
            console.hint(
                "This chain has the contracts of another version of Marina: begin a new one with --fresh."
            )
        service = DevChainService(rpc=DevRpc(engine), port=port)
        try:
            trio.run(
                serve_until_signal, service, lambda url: _announce(url, engine, database.parent, console)
            )
        except BaseExceptionGroup as group:
            raise _expected(group) from group
    finally:
        store.close()


def _announce(url: str, engine: Engine, folder: Path, console: Console) -> None:
    from chain.dev.genesis import dev_contracts
    from chain.dev.methods import LABEL
    from chain.dev.vm import CHAIN_ID
    from marina.ids import account_text

    contracts = {name: account_text(address) for name, address in dev_contracts().named().items()}
    height = engine.head().block_number
    facts = {
        "url": url,
        "chainId": CHAIN_ID,
        "label": LABEL,
        "dir": str(folder),
        "pid": os.getpid(),
        "block": height,
        "contracts": contracts,
    }
    width = max(map(len, contracts))
    console.result(
        facts,
        [
            f"Marina {LABEL}.",
            f"{url}  chain id {CHAIN_ID}, block {height}, kept in {folder}",
            *(f"  {name:<{width}}  {address}" for name, address in contracts.items()),
        ],
    )
    console.hint("Test coins come from the faucet (marina_faucet). Ctrl-C ends the chain; it is kept.")


def _expected(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one expected error out of the nested groups of the nurseries, or the group."""
    found: BaseException | None = group.subgroup(MarinaError)
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found or group
