"""Limited editions of tracks and releases."""

from __future__ import annotations

from typing import Any

from chain.amount import format_amount, parse_amount
from marina.errors import UsageError
from marina.ids import Account
from node.api.reply import Reply
from node.api.router import ApiContext, route
from node.api.routes_wallet import TYPED_BYTES_MAX, max_fee, typed_account
from node.api.scopes import Scope
from node.chain.service import Chain, ChainService
from node.chain.spending import quote
from node.chain.things import Named, named, title_of
from node.library import Library


class EditionRoutes:
    """Collectables: made, given, bought."""

    def __init__(self, *, chain: ChainService, library: Library) -> None:
        self._chain = chain
        self._library = library

    @route("GET", "/api/v1/editions", scope=Scope.READ_MUSIC)
    async def editions(self, ctx: ApiContext) -> Reply:
        """Answer the editions of a track or release, or with ``held`` those that this account holds."""
        chain = self._chain.get()
        await chain.try_catch_up()
        account = self._chain.wallet.default().account
        target = ctx.query.text("target", None, bytes_max=4096)
        if target is not None:
            thing = await named(self._library, target)
            found = await chain.tables.editions_of_track(thing.id, limit=200)
            numbers = [each.edition_id for each in found.rows]
        else:
            held = await chain.tables.editions_held(account, limit=200)
            numbers = [each.edition_id for each in held.rows if int.from_bytes(each.count)]
        items = [await self._edition(chain, int.from_bytes(each), account) for each in numbers]
        return Reply.ok({"items": items})

    @route("GET", "/api/v1/editions/{number}", scope=Scope.READ_MUSIC)
    async def edition(self, ctx: ApiContext) -> Reply:
        """Answer one edition."""
        number = _number(ctx.params["number"])
        return Reply.ok(await self._edition(self._chain.get(), number, self._chain.wallet.default().account))

    @route("POST", "/api/v1/editions", scope=Scope.WRITE_MUSIC)
    async def create_edition(self, ctx: ApiContext) -> Reply:
        """Answer what making an edition would do, and its code."""
        chain, artist = self._chain.get(), self._account(ctx)
        thing = await self._named(ctx)
        await chain.offers.owned(thing.id, artist)
        price = parse_amount(
            ctx.body.text("price", bytes_max=100), await chain.currencies.all(), is_zero_allowed=True
        )
        cap = ctx.body.whole("count", low=1, high=2**32 - 1)
        draft = await chain.editions.create(thing.id, cap=cap, price=price, title=thing.title)
        return Reply.ok(await quote(self._chain, [draft], artist, max_fee=max_fee(ctx)))

    @route("POST", "/api/v1/editions/{number}/mint", scope=Scope.WRITE_MUSIC)
    async def mint_edition(self, ctx: ApiContext) -> Reply:
        """Answer what giving pieces of an edition away would do, and its code."""
        chain, artist = self._chain.get(), self._account(ctx)
        number = _number(ctx.params["number"])
        names: dict[str, Account] = {}
        to = await typed_account(ctx.body.text("to", bytes_max=TYPED_BYTES_MAX), self._chain, names)
        _, title = await title_of(self._library, (await chain.editions.get(number)).track)
        count = ctx.body.whole("count", 1, low=1, high=2**32 - 1)
        draft = await chain.editions.mint(number, to=to, count=count, title=title)
        return Reply.ok(await quote(self._chain, [draft], artist, max_fee=max_fee(ctx), names=names))

    @route("POST", "/api/v1/editions/{number}/buy", scope=Scope.READ_MUSIC)
    async def buy_edition(self, ctx: ApiContext) -> Reply:
        """Answer what buying pieces of an edition would do, and its code."""
        chain, payer = self._chain.get(), self._account(ctx)
        number = _number(ctx.params["number"])
        receiver = ctx.body.text("to", None, bytes_max=TYPED_BYTES_MAX)
        names: dict[str, Account] = {}
        to = payer if receiver is None else await typed_account(receiver, self._chain, names)
        _, title = await title_of(self._library, (await chain.editions.get(number)).track)
        count = ctx.body.whole("count", 1, low=1, high=2**32 - 1)
        drafts = await chain.editions.buy(number, count=count, to=to, payer=payer, title=title)
        return Reply.ok(await quote(self._chain, drafts, payer, max_fee=max_fee(ctx), names=names))

    def _account(self, ctx: ApiContext) -> Account:
        typed = ctx.body.text("account", None, bytes_max=64)
        wallet = self._chain.wallet
        return (wallet.default() if typed is None else wallet.find(typed)).account

    async def _named(self, ctx: ApiContext) -> Named:
        return await named(self._library, ctx.body.text("target"))

    async def _edition(self, chain: Chain, number: int, account: Account) -> dict[str, Any]:
        edition = await chain.editions.get(number)
        text, title = await title_of(self._library, edition.track)
        return {
            "edition": number,
            "id": text,
            "title": title,
            "price": format_amount(edition.price.value, edition.price.currency),
            "count": edition.cap,
            "minted": edition.minted,
            "left": edition.cap - edition.minted,
            "open": edition.is_open,
            "held": await chain.editions.held(number, account),
            "royalty_percent": await chain.editions.royalty_bps(number) / 100,
        }


def _number(text: str) -> int:
    if not text.isdecimal() or not 0 < len(text) <= 18:
        raise UsageError(f"{text[:20]!r} is no edition's number: see 'marina edition list'")
    return int(text)
