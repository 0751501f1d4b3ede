"""marina chain: how the chain is, its contracts, any call of theirs, and the development chain."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cli.api import Daemon
from cli.console import Console, clean
from cli.spend import add_spend_options, quote_lines, spend
from marina.errors import MarinaError, NotPermittedError, UsageError

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
    actions.add_parser("status", help="which chain, its endpoints, its contracts")
    state = actions.add_parser("state", help="what a contract says of itself")
    state.add_argument("contract", help="like MusicLicensing, or licensing")
    for name, text in (
        ("call", "ask a function; nothing is sent"),
        ("send", "call a function by a transaction"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("address", help="a contract of Marina by name, or 0x…")
        action.add_argument("function", help="its name, or name(type,…)")
        action.add_argument(
            "arguments", nargs="*", metavar="ARG", help="numbers in base units; lists as JSON"
        )
        action.add_argument("--abi", type=Path, metavar="FILE", help="ABI of a contract that is not Marina's")
        action.add_argument("--value", metavar="AMOUNT", help="coins that travel with it")
        if name == "send":
            action.add_argument("--simulate", action="store_true", help="try it and send nothing")
            add_spend_options(action)
    deploy = actions.add_parser("deploy", help="deploy Marina's contracts to the configured chain")
    deploy.add_argument(
        "--holder", metavar="ACCOUNT", help="who gets the 1,000,000 MMT (default: the deployer)"
    )
    add_spend_options(deploy)
    actions.add_parser("verify", help="compare the chain's contracts byte for byte with this version's")
    actions.add_parser("reindex", help="read what the node knows of the chain anew; nothing is lost")
    use = actions.add_parser("use", help="use the contracts of a file that 'marina chain deploy' wrote")
    use.add_argument("file", type=Path)


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one action."""
    actions = {
        "dev": _dev,
        "status": _status,
        "state": _state,
        "call": _call,
        "send": _send,
        "deploy": _deploy,
        "verify": _verify,
        "reindex": _reindex,
        "use": _use,
    }
    return actions[args.action](args, console)


def _status(_: argparse.Namespace, console: Console) -> int:
    facts = Daemon(console).get("/api/v1/chain")
    lines = [f"{facts['profile']}: {clean(facts['message'])}"]
    lines += [
        f"  {each['address']}  {'well' if each['well'] else clean(each['fault'])}"
        for each in facts.get("endpoints", [])
    ]
    if facts.get("indexed", -1) < facts.get("head", -1):
        lines.append(f"  indexed to block {facts['indexed']} of {facts['head']}")
    contracts = facts.get("contracts", {})
    lines += [f"  {name:<18}  {address}" for name, address in contracts.items()]
    console.result(facts, lines)
    return 0 if facts["status"] == "healthy" else 8


def _state(args: argparse.Namespace, console: Console) -> int:
    facts = Daemon(console).get(f"/api/v1/chain/state/{args.contract}")
    width = max(map(len, facts["state"]), default=0)
    console.result(
        facts,
        [
            f"{facts['contract']} {facts['address']} at block {facts['block']}",
            *(f"  {name:<{width}}  {clean(json.dumps(value))}" for name, value in facts["state"].items()),
        ],
    )
    return 0


def _call(args: argparse.Namespace, console: Console) -> int:
    facts = Daemon(console).post("/api/v1/chain/call", _call_body(args))
    console.result(facts, clean(json.dumps(facts["result"])))
    return 0


def _send(args: argparse.Namespace, console: Console) -> int:
    args.dry_run = args.dry_run or args.simulate
    spend(Daemon(console), console, args, "/api/v1/chain/send", _call_body(args))
    return 0


def _call_body(args: argparse.Namespace) -> dict[str, object]:
    abi = None if args.abi is None else args.abi.expanduser().read_text("utf-8")
    return {
        "contract": args.address,
        "function": args.function,
        "arguments": args.arguments,
        "abi": abi,
        "value": args.value,
    }


def _deploy(args: argparse.Namespace, console: Console) -> int:
    """Deploy, compare what came of it, and keep the addresses."""
    daemon = Daemon(console)
    facts = spend(daemon, console, args, "/api/v1/chain/deploy", {"holder": args.holder}, is_shown=False)
    contracts = facts["quote"]["contracts"]
    names = [f"  {name:<18}  {address}" for name, address in contracts.items()]
    if args.dry_run:
        console.result(facts, [*quote_lines(facts["quote"]), *names])
        return 0
    first = min((each["block"] for each in facts["transactions"] if each["block"]), default=0)
    kept = daemon.post("/api/v1/chain/contracts", {"contracts": contracts, "first_block": first})
    console.result(
        {**kept, "transactions": facts["transactions"]},
        [*names, f"Compared byte for byte; written to {kept['file']}.", "Restart the node to use them."],
    )
    return 0


def _verify(_: argparse.Namespace, console: Console) -> int:
    facts = Daemon(console).post("/api/v1/chain/verify", {})
    console.result(facts, f"The contracts on {facts['chain']} are this version's, byte for byte.")
    return 0


def _reindex(_: argparse.Namespace, console: Console) -> int:
    facts = Daemon(console).post("/api/v1/chain/reindex", {})
    console.result(
        facts,
        f"The index of {facts['chain']} is read anew, up to block {facts['head']}: "
        "'marina chain status' shows how far it is.",
    )
    return 0


def _use(args: argparse.Namespace, console: Console) -> int:
    from chain.contracts import read_deployment

    daemon = Daemon(console)
    chain_id = daemon.get("/api/v1/chain")["chain_id"]
    if chain_id is None:
        raise UsageError("no chain is configured: choose one with 'marina config set chain.profile'")
    made = read_deployment(args.file.expanduser(), chain_id)
    named = {name: "0x" + address.hex() for name, address in made.contracts.named().items()}
    kept = daemon.post("/api/v1/chain/contracts", {"contracts": named, "first_block": made.first_block})
    console.result(kept, f"Compared byte for byte; written to {kept['file']}. Restart the node to use them.")
    return 0


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
    # py-evm prints whole batches when one fails; the interface logs the failure itself.
    logging.getLogger("eth").setLevel(logging.CRITICAL)
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
