"""marina wallet: the accounts of this node, what they hold, and sending."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from cli.api import Daemon
from cli.console import Console, clean
from cli.spend import add_spend_options, spend
from cli.start import passphrase_sources, read_words
from marina.errors import UsageError

_KEYSTORE_BYTES_MAX = 16_384
_KEY_BYTES_MAX = 200


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands; none lists."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="the accounts of this node")
    create = actions.add_parser("create", help="another account of this node's 24 words")
    create.add_argument("name")
    bring = actions.add_parser(
        "import", help="an account of another wallet: a keystore file, a key, or words"
    )
    bring.add_argument("name")
    bring.add_argument(
        "file", nargs="?", metavar="FILE", help="keystore V3 file of geth, MetaMask and others"
    )
    bring.add_argument(
        "--passphrase-fd", type=int, metavar="N", help="read the file's passphrase from descriptor N"
    )
    bring.add_argument(
        "--key-fd", type=int, metavar="N", help="read a private key (64 hex digits) from descriptor N"
    )
    bring.add_argument("--words-fd", type=int, metavar="N", help="read 12 to 24 words from descriptor N")
    bring.add_argument("--words", action="store_true", help="type the words")
    bring.add_argument("--index", type=int, default=0, metavar="N", help="account of the words (default 0)")
    address = actions.add_parser("address", help="the address of an account, to be paid at")
    address.add_argument("name", nargs="?")
    balance = actions.add_parser("balance", help="what an account holds, and what its music is owed")
    balance.add_argument("name", nargs="?")
    send = actions.add_parser("send", help="send coins or tokens")
    send.add_argument("to", help="0x…, the name of an account of this node, or an ENS name")
    send.add_argument("amount", help="like 0.4ETH, 400MMT")
    add_spend_options(send)
    default = actions.add_parser("default", help="choose the account that pays")
    default.add_argument("name")
    forget = actions.add_parser("forget", help="remove an account's key from this node")
    forget.add_argument("name")
    forget.add_argument("--yes", action="store_true", help="do not ask")
    export = actions.add_parser("export", help="write an account as a keystore V3 file for another wallet")
    export.add_argument("name")
    export.add_argument("file", metavar="FILE")
    export.add_argument(
        "--passphrase-fd", type=int, metavar="N", help="read the vault's passphrase from descriptor N"
    )
    export.add_argument(
        "--export-passphrase-fd",
        type=int,
        metavar="N",
        help="read the file's new passphrase from descriptor N",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Run one of the actions."""
    daemon = Daemon(console)
    if args.action == "send":
        spend(daemon, console, args, "/api/v1/wallet/send", {"to": args.to, "amount": args.amount})
        return 0
    if args.action == "balance":
        return _balance(daemon, console, args.name)
    if args.action == "import":
        facts = daemon.post("/api/v1/wallet", {"name": args.name, **_imported(args)})
        console.result(facts, f"{facts['name']} is {facts['address']}; its key is in this node's vault.")
    elif args.action == "create":
        facts = daemon.post("/api/v1/wallet", {"name": args.name})
        console.result(facts, f"{facts['name']} is {facts['address']}; the 24 words bring it back.")
    elif args.action == "default":
        facts = daemon.post("/api/v1/wallet/default", {"account": args.name})
        console.result(facts, f"{facts['name']} ({facts['address']}) pays from now on.")
    elif args.action == "forget":
        return _forget(daemon, console, args)
    elif args.action == "export":
        return _export(daemon, console, args)
    elif args.action == "address":
        found = _account(daemon, args.name)
        console.result(found, str(found["address"]))
    else:
        facts = daemon.get("/api/v1/wallet")
        rows = [
            (each["name"], each["address"], each["origin"], "pays" if each["default"] else "")
            for each in facts["items"]
        ]
        console.result(facts, console.table(("name", "address", "from", ""), rows))
    return 0


def _account(daemon: Daemon, name: str | None) -> dict[str, object]:
    items = daemon.get("/api/v1/wallet")["items"]
    for each in items:
        if (name is None and each["default"]) or name in (each["name"], each["address"]):
            found: dict[str, object] = each
            return found
    raise UsageError(f"this node has no account {clean(name)!r}: see 'marina wallet'")


def _balance(daemon: Daemon, console: Console, name: str | None) -> int:
    query = {} if name is None else {"account": name}
    facts = daemon.get("/api/v1/wallet/balance", **query)
    rows = [
        (each["balance"], f"owed {each['owed']}", f"limit today {each['left_today']}")
        for each in facts["items"]
    ]
    console.result(
        facts,
        [f"{facts['account']} on {facts['chain']}", *console.table(("balance", "music", "spending"), rows)],
    )
    return 0


def _imported(args: argparse.Namespace) -> dict[str, object]:
    if args.file is not None:
        data = Path(args.file).expanduser().read_bytes()[: _KEYSTORE_BYTES_MAX + 1]
        if len(data) > _KEYSTORE_BYTES_MAX:
            raise UsageError(f"{args.file} is too large for a keystore file")
        passphrase = passphrase_sources(args.passphrase_fd).read()
        return {
            "kind": "keystore",
            "keystore": data.decode("utf-8", "replace"),
            "passphrase": passphrase.reveal(),
        }
    if args.key_fd is not None:
        return {"kind": "key", "key": os.read(args.key_fd, _KEY_BYTES_MAX).decode("ascii", "replace").strip()}
    if args.words or args.words_fd is not None:
        return {"kind": "words", "words": read_words(args.words_fd), "index": args.index}
    raise UsageError("say what to import: a keystore FILE, --key-fd N, --words or --words-fd N")


def _forget(daemon: Daemon, console: Console, args: argparse.Namespace) -> int:
    question = f"Remove the key of {clean(args.name)}? Without its words or file its money is lost."
    if not args.yes and not console.ask(question):
        from marina.errors import NotPermittedError

        raise NotPermittedError("not removed: answer y, or pass --yes")
    facts = daemon.post("/api/v1/wallet/forget", {"account": args.name})
    console.result(facts, f"{facts['name']} ({facts['address']}) is removed.")
    return 0


def _export(daemon: Daemon, console: Console, args: argparse.Namespace) -> int:
    vault = passphrase_sources(args.passphrase_fd).read()
    if args.export_passphrase_fd is None and sys.stdin.isatty():
        console.hint("Now a passphrase for the file.")
    sealed_with = passphrase_sources(args.export_passphrase_fd).read()
    facts = daemon.post(
        "/api/v1/wallet/export",
        {"account": args.name, "passphrase": vault.reveal(), "export_passphrase": sealed_with.reveal()},
    )
    path = Path(args.file).expanduser()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(facts["keystore"])
    console.result({"file": str(path)}, f"Written to {path}: other wallets import it with its passphrase.")
    return 0
