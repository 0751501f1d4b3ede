"""Accounts, balances, transfers; what was sent; and the owner's yes."""

from __future__ import annotations

from typing import Any

from chain.amount import Currency, format_amount, parse_amount
from chain.artifacts import encode_call
from chain.contracts import ZERO
from chain.draft import Draft
from chain.journal import Transaction
from marina.errors import MalformedError, NotFoundError, UsageError
from marina.ids import Account, account_text, parse_account
from marina.secret import Secret
from node.api.errors import BadRequestError
from node.api.reply import Page, PageQuery, Reply
from node.api.router import ApiContext, route
from node.api.scopes import Scope
from node.chain.service import ChainService
from node.chain.spending import quote, submit, transaction_json
from storage.identity.accounts import StoredAccount

FAUCET_COINS = 10
TYPED_BYTES_MAX = 255
"""Of an address or a name."""
_WAIT_S_MAX = 50


class WalletRoutes:
    """What the owner of the money does."""

    def __init__(self, *, chain: ChainService) -> None:
        self._chain = chain

    @route("GET", "/api/v1/wallet", scope=Scope.ADMIN)
    async def accounts(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer every account of this node."""
        default = self._chain.wallet.default()
        return Reply.ok(
            {
                "items": [
                    {**_account(each), "default": each == default} for each in self._chain.wallet.accounts()
                ]
            }
        )

    @route("POST", "/api/v1/wallet", scope=Scope.ADMIN)
    async def create(self, ctx: ApiContext) -> Reply:
        """Add another account of the node's words, or import one from another wallet.

        A body without ``kind`` creates. ``kind`` keystore takes ``keystore`` (JSON text) and ``passphrase``;
        key takes ``key`` (hex); words takes ``words`` and ``index``.
        """
        name, wallet = ctx.body.text("name", bytes_max=64), self._chain.wallet
        kind = ctx.body.choice("kind", ("create", "keystore", "key", "words"), "create")
        if kind == "keystore":
            data = ctx.body.text("keystore", bytes_max=16_384).encode()
            made = await wallet.import_v3(name, data, Secret(ctx.body.text("passphrase", bytes_max=1024)))
        elif kind == "key":
            made = await wallet.import_key(name, Secret(ctx.body.text("key", bytes_max=256)))
        elif kind == "words":
            index = ctx.body.whole("index", 0, low=0, high=2**31 - 1)
            made = await wallet.import_words(
                name, Secret(ctx.body.text("words", bytes_max=1024)), index=index
            )
        else:
            made = await wallet.create(name)
        return Reply.created(_account(made))

    @route("POST", "/api/v1/wallet/default", scope=Scope.ADMIN)
    async def set_default(self, ctx: ApiContext) -> Reply:
        """Choose the account that pays unless another is named."""
        return Reply.ok(
            _account(await self._chain.wallet.set_default(ctx.body.text("account", bytes_max=64)))
        )

    @route("POST", "/api/v1/wallet/forget", scope=Scope.ADMIN)
    async def forget(self, ctx: ApiContext) -> Reply:
        """Remove an account's key from this node."""
        return Reply.ok(_account(await self._chain.wallet.forget(ctx.body.text("account", bytes_max=64))))

    @route("POST", "/api/v1/wallet/export", scope=Scope.ADMIN)
    async def export(self, ctx: ApiContext) -> Reply:
        """Answer an account as a keystore V3 file with a passphrase of its own; asks the vault's again."""
        account = ctx.body.text("account", bytes_max=64)
        passphrase = Secret(ctx.body.text("passphrase", bytes_max=1024))
        sealed_with = Secret(ctx.body.text("export_passphrase", bytes_max=1024))
        keystore = await self._chain.wallet.export_v3(
            account, passphrase=passphrase, export_passphrase=sealed_with
        )
        return Reply.ok({"keystore": keystore})

    @route("GET", "/api/v1/wallet/balance", scope=Scope.ADMIN)
    async def balance(self, ctx: ApiContext) -> Reply:
        """Answer what an account holds and what the ledger owes it, in every currency.

        On a chain whose contracts are not known yet that is the coin alone.
        """
        money = self._chain.money()
        account = self._account(ctx.query.text("account", None, bytes_max=64))
        items: list[dict[str, Any]] = []
        for currency in await self._currencies():
            owed = 0
            if currency.token is None:
                units = await money.gateway.balance(account)
            else:
                units = await self._chain.get().currencies.balance(currency, account)
            if self._chain.has_contracts:
                owed = await self._chain.get().selling.owed(account, currency.token or ZERO)
            items.append(
                {
                    "symbol": currency.symbol,
                    "token": None if currency.token is None else account_text(currency.token),
                    "balance": format_amount(units, currency),
                    "units": str(units),
                    "owed": format_amount(owed, currency),
                    "left_today": format_amount(await money.guard.left(currency), currency),
                }
            )
        return Reply.ok({"account": account_text(account), "chain": money.profile.name, "items": items})

    @route("POST", "/api/v1/wallet/send", scope=Scope.ADMIN)
    async def send(self, ctx: ApiContext) -> Reply:
        """Answer what sending an amount to somebody would do, and the code that confirms it."""
        payer = self._account(ctx.body.text("account", None, bytes_max=64))
        amount = parse_amount(ctx.body.text("amount", bytes_max=100), await self._currencies())
        names: dict[str, Account] = {}
        to = await typed_account(ctx.body.text("to", bytes_max=TYPED_BYTES_MAX), self._chain, names)
        shown = format_amount(amount.value, amount.currency)
        summary = f"Send {shown} to {account_text(to)}"
        key = f"wallet.send:{to.hex()}:{shown}:{payer.hex()}"
        token = amount.currency.token
        moved = b"" if token is None else encode_call("MarinaToken", "transfer", bytes(to), amount.value)
        draft = (
            Draft(to, b"", amount.value, "wallet.send", summary, key, (amount,))
            if token is None
            else Draft(token, moved, 0, "wallet.send", summary, key, (amount,))
        )
        return Reply.ok(await quote(self._chain, [draft], payer, max_fee=max_fee(ctx), names=names))

    @route("POST", "/api/v1/wallet/confirm", scope=Scope.WALLET_SIGN)
    async def confirm(self, ctx: ApiContext) -> Reply:
        """Sign and send what was shown under a code; answers the transactions as they stand."""
        wait_s = ctx.body.whole("wait_s", 30, low=0, high=_WAIT_S_MAX)
        code = ctx.body.text("confirm", bytes_max=64)
        return Reply.ok({"items": await submit(self._chain, code, wait_s=wait_s)})

    @route("POST", "/api/v1/wallet/faucet", scope=Scope.ADMIN)
    async def faucet(self, ctx: ApiContext) -> Reply:
        """Get coins of a development chain."""
        chain = self._chain.money()
        if chain.profile.name != "dev":
            raise UsageError(f"{chain.profile.name} gives no coins away: only the development chain does")
        account = self._account(ctx.body.text("account", None, bytes_max=64))
        coin = chain.coin
        amount = parse_amount(
            ctx.body.text("amount", f"{FAUCET_COINS}{coin.symbol}", bytes_max=100), (coin,), default=coin
        )
        await chain.rpc.call("marina_faucet", [account_text(account), hex(amount.value)])
        units = await chain.gateway.balance(account)
        return Reply.ok({"account": account_text(account), "balance": format_amount(units, coin)})

    @route("GET", "/api/v1/transactions", scope=Scope.ADMIN)
    async def transactions(self, ctx: ApiContext) -> Reply:
        """Answer this node's transactions on the configured chain, the newest first."""
        chain = self._chain.money()
        await chain.sender.load()
        page = PageQuery.read(ctx.query)
        what = ctx.query.text("what", "", bytes_max=64)
        try:
            before = bytes.fromhex(page.cursor)
        except ValueError as err:
            raise BadRequestError("'cursor' is not one that this list gave") from err
        rows = await chain.journal.page(before=before, limit=page.limit)
        items = [
            transaction_json(self._chain, row)
            for _, row in rows
            if row.chain_id == chain.profile.chain_id and row.what.startswith(what)
        ]
        cursor = rows[-1][0].hex() if len(rows) == page.limit else None
        return Reply.page(Page(items, cursor))

    @route("GET", "/api/v1/transactions/{id}", scope=Scope.ADMIN)
    async def transaction(self, ctx: ApiContext) -> Reply:
        """Answer one transaction; with ``wait_s`` once it has ``confirmations``, or as it stands then."""
        chain = self._chain.money()
        await chain.sender.load()
        found = await self._find(ctx.params["id"])
        wait_s = ctx.query.whole("wait_s", 0, low=0, high=_WAIT_S_MAX)
        if wait_s:
            wanted = ctx.query.whole("confirmations", 1, low=1, high=1000)
            found = await chain.sender.wait(found.id, confirmations=wanted, timeout_s=wait_s)
            if found.block_number:
                await self._chain.reached(found.block_number, timeout_s=wait_s)
        return Reply.ok(transaction_json(self._chain, found))

    @route("POST", "/api/v1/transactions/{id}/cancel", scope=Scope.WALLET_SIGN)
    async def cancel(self, ctx: ApiContext) -> Reply:
        """Try to take a transaction back before it is mined."""
        chain = self._chain.money()
        await chain.sender.load()
        found = await self._find(ctx.params["id"])
        return Reply.ok(transaction_json(self._chain, await chain.sender.cancel(found.id)))

    async def _currencies(self) -> tuple[Currency, ...]:
        """Return what amounts can be in: the coin alone while no contracts are known."""
        if not self._chain.has_contracts:
            return (self._chain.money().coin,)
        return await self._chain.get().currencies.all()

    def _account(self, typed: str | None) -> Account:
        wallet = self._chain.wallet
        return (wallet.default() if typed is None else wallet.find(typed)).account

    async def _find(self, typed: str) -> Transaction:
        chain = self._chain.money()
        wanted = typed.lower().removeprefix("0x")
        if len(wanted) < 6 or not all(char in "0123456789abcdef" for char in wanted):
            raise UsageError("give at least 6 digits of the transaction's id or hash: see 'marina tx'")
        before = b""
        while True:
            rows = await chain.journal.page(before=before, limit=200)
            for _, row in rows:
                hashes = [each.hash.hex() for each in row.attempts]
                if row.chain_id == chain.profile.chain_id and any(
                    each.startswith(wanted) for each in (row.id.hex(), *hashes)
                ):
                    return row
            if len(rows) < 200:
                raise NotFoundError("this node made no such transaction: see 'marina tx'")
            before = rows[-1][0]


def max_fee(ctx: ApiContext) -> str | None:
    """Return the most that network fees may be, as the caller wrote it."""
    return ctx.body.text("max_fee", None, bytes_max=100)


async def typed_account(typed: str, chain: ChainService, names: dict[str, Account] | None = None) -> Account:
    """Return an address, the one of an account of this node by its name, or what an ENS name stands for.

    Args:
        typed: a text with a dot is an ENS name.
        chain: that is asked for it.
        names: an ENS name is put there with what it stands for, for ``quote`` to show.

    Raises:
        UsageError: it is none of these.
        NotFoundError: no account has the name.
        NetworkError: the chain does not say whose the ENS name is.
    """
    if "." not in typed:
        return local_account(typed, chain)
    from chain.names import resolve_name

    account = await resolve_name(chain.money().gateway, typed)
    if names is not None:
        names[typed] = account
    return account


def local_account(typed: str, chain: ChainService) -> Account:
    """Return an address, or the one of an account of this node by its name.

    Raises:
        UsageError: it is neither.
    """
    if not typed.startswith("0x"):
        return chain.wallet.find(typed).account
    try:
        account = parse_account(typed)
    except MalformedError as err:
        raise UsageError(f"{err}: give the whole address") from err
    if typed not in (account_text(account), typed.lower()):
        raise UsageError("the address has a slip in it: its capital letters do not fit (EIP-55)")
    return account


def _account(each: StoredAccount) -> dict[str, Any]:
    return {
        "name": each.name,
        "address": account_text(each.account),
        "origin": each.origin,
        "index": each.index,
    }
