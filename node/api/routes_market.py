"""Registering and pricing; buying, renewing, giving, refunding, tipping; licences and earnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chain.amount import Currency, format_amount, parse_amount
from chain.draft import Draft
from chain.market.offers import FOR_EVER, KINDS, Offer
from chain.market.selling import SplitPart
from marina.errors import NotFoundError, UsageError
from marina.ids import Account, ReleaseId, account_text, release_text
from node.api.errors import BadRequestError
from node.api.reply import Page, PageQuery, Reply
from node.api.router import ApiContext, route
from node.api.routes_listening import sold_assurance
from node.api.routes_wallet import TYPED_BYTES_MAX, max_fee, typed_account
from node.api.scopes import Scope
from node.chain.purchase import Order, purchase
from node.chain.service import Chain, ChainService
from node.chain.spending import quote
from node.chain.things import Named, named, parse_splits, parse_term, things_of, title_of
from node.keys.assurance import Assurer
from node.library import Library

if TYPE_CHECKING:
    from chain.tables import Page as Rows

_ZERO = Account(bytes(20))
_TERMS_MAX = 8
_DIVIDED_MAX = 32
_SHARED_MAX = 10_000
"""Tracks that one call adds up."""


class MarketRoutes:
    """Music for money."""

    def __init__(self, *, chain: ChainService, library: Library, assurer: Assurer) -> None:
        self._chain = chain
        self._library = library
        self._assurer = assurer

    @route("POST", "/api/v1/market/register", scope=Scope.WRITE_MUSIC)
    async def register(self, ctx: ApiContext) -> Reply:
        """Answer what registering a release or track, with price and splits, would do, and its code.

        ``terms`` are for the whole release, ``track_terms`` for each track: objects with price, period, kind.
        """
        chain, artist = self._chain.get(), self._account(ctx)
        thing = await self._named(ctx)
        names: dict[str, Account] = {}
        shares = ctx.body.texts("splits", items_max=32, bytes_max=128)
        splits = await parse_splits(shares, artist, self._chain, names)
        royalty_bps = ctx.body.whole("royalty_bps", 0, low=0, high=5_000)
        things = things_of(thing, with_tracks=True)
        drafts = list(await chain.selling.register(things, splits, royalty_bps=royalty_bps, artist=artist))
        drafts += await self._priced(ctx, thing.id, "terms", thing.title)
        for each in things:
            if each.release is not None:
                drafts += await self._priced(ctx, each.id, "track_terms", each.title)
        return Reply.ok(await quote(self._chain, drafts, artist, max_fee=max_fee(ctx), names=names))

    @route("POST", "/api/v1/market/price", scope=Scope.WRITE_MUSIC)
    async def price(self, ctx: ApiContext) -> Reply:
        """Answer what adding terms, or switching one on or off, would do, and its code."""
        chain, artist = self._chain.get(), self._account(ctx)
        thing = await self._named(ctx)
        await chain.offers.owned(thing.id, artist)
        drafts = await self._priced(ctx, thing.id, "terms", thing.title)
        for name, is_sold in (("disable", False), ("enable", True)):
            if name in ctx.body:
                term = ctx.body.whole(name, low=0, high=255)
                drafts.append(chain.selling.enable(thing.id, term, is_sold, title=thing.title))
        return Reply.ok(await quote(self._chain, drafts, artist, max_fee=max_fee(ctx)))

    @route("POST", "/api/v1/market/splits", scope=Scope.WRITE_MUSIC)
    async def splits(self, ctx: ApiContext) -> Reply:
        """Answer what sharing later earnings in another way would do, and its code."""
        chain, artist = self._chain.get(), self._account(ctx)
        thing = await self._named(ctx)
        await chain.offers.owned(thing.id, artist)
        names: dict[str, Account] = {}
        shares = ctx.body.texts("splits", items_max=32, bytes_max=128)
        parts = await parse_splits(shares, artist, self._chain, names)
        drafts = [
            chain.selling.share(each.id, parts, title=each.title)
            for each in things_of(thing, with_tracks=True)
        ]
        return Reply.ok(await quote(self._chain, drafts, artist, max_fee=max_fee(ctx), names=names))

    @route("GET", "/api/v1/market/{target}/terms", scope=Scope.READ_MUSIC)
    async def terms(self, ctx: ApiContext) -> Reply:
        """Answer what a track or release is sold for, to whom the money goes, and what this account holds."""
        chain = self._chain.get()
        thing = await named(self._library, ctx.params["target"])
        await chain.try_catch_up()
        rights = await chain.offers.rights(thing.id)
        if rights is None:
            return Reply.ok({"id": thing.text, "title": thing.title, "registered": False, "items": []})
        account = self._assurer.account
        shares = await chain.tables.splits(thing.id, rights.splits_hash)
        held = {tier: await chain.offers.licence_for(thing.id, account, tier) for tier in (1, 2)}
        items = [_offer(each) for each in await chain.offers.of(thing.id)]
        release = await self._release_terms(chain, rights.release)
        return Reply.ok(
            {
                "id": thing.text,
                "title": thing.title,
                "registered": True,
                "owner": account_text(rights.owner),
                "for_sale": rights.is_active and not rights.is_blocked,
                "blocked": rights.is_blocked,
                "version": rights.version,
                "content_digest": rights.content_digest.hex(),
                "splits": [
                    {"account": account_text(Account(each.account)), "percent": each.bps / 100}
                    for each in (shares.parts if shares else ())
                ],
                "fee_percent": await chain.tables.fee_bps() / 100,
                "items": items,
                "release": release,
                "assurance": await sold_assurance(self._assurer, thing.target.meant, items),
                "yours_until_s": {
                    "stream": _until(held[1]),
                    "download": _until(held[2]),
                },
            }
        )

    @route("POST", "/api/v1/market/buy", scope=Scope.READ_MUSIC)
    async def buy(self, ctx: ApiContext) -> Reply:
        """Answer what buying, renewing or giving a licence would do, and its code.

        Whichever account pays, the licence is this owner's unless ``to`` names somebody: this device can ask
        for keys in no other name. Refused while the sound is not to be had or too few guardians would release
        the keys. With ``queue`` it is written down when the chain does not answer, and made once it does.
        """
        chain, payer = self._chain.get(), self._account(ctx)
        thing = await self._named(ctx)
        term = ctx.body.whole("term", None, low=0, high=255)
        kind = {"stream": 1, "download": 2}.get(ctx.body.choice("kind", ("any", "stream", "download"), "any"))
        receiver = ctx.body.text("to", None, bytes_max=TYPED_BYTES_MAX)
        names: dict[str, Account] = {}
        licensee = (
            self._assurer.account if receiver is None else await typed_account(receiver, self._chain, names)
        )
        order = Order(
            thing=thing.id,
            title=thing.title,
            term=term,
            kind=kind,
            payer=payer,
            licensee=licensee,
            periods=ctx.body.whole("periods", 1, low=1, high=1200),
            is_renewal=ctx.body.flag("renew"),
            is_queued=ctx.body.flag("queue"),
        )
        bought = await purchase(chain, order)
        if not (order.is_renewal or bought.is_offline):
            await self._assurer.check(thing.target.meant, bought.offer.kind)
        said = await quote(
            self._chain,
            bought.drafts,
            payer,
            max_fee=max_fee(ctx),
            is_offline=bought.is_offline,
            names=names,
        )
        return Reply.ok({**said, "id": thing.text, "title": thing.title, "offer": _offer(bought.offer)})

    @route("POST", "/api/v1/market/tip", scope=Scope.READ_MUSIC)
    async def tip(self, ctx: ApiContext) -> Reply:
        """Answer what a tip would do, and its code."""
        chain, payer = self._chain.get(), self._account(ctx)
        thing = await self._named(ctx)
        amount = parse_amount(ctx.body.text("amount", bytes_max=100), await chain.currencies.all())
        drafts = await chain.buying.tip(thing.id, amount, title=thing.title, payer=payer)
        return Reply.ok(await quote(self._chain, drafts, payer, max_fee=max_fee(ctx)))

    @route("POST", "/api/v1/market/refund", scope=Scope.WRITE_MUSIC)
    async def refund(self, ctx: ApiContext) -> Reply:
        """Answer what ending a licence and paying back would do, and its code."""
        chain, payer = self._chain.get(), self._account(ctx)
        licence = _licence_id(ctx.body.text("licence", bytes_max=80))
        found = await chain.offers.licence(licence)
        _, title = await title_of(self._library, found.id)
        drafts = await chain.buying.refund(licence, title=title, payer=payer)
        return Reply.ok(await quote(self._chain, drafts, payer, max_fee=max_fee(ctx)))

    @route("GET", "/api/v1/licences", scope=Scope.READ_MUSIC)
    async def licences(self, ctx: ApiContext) -> Reply:
        """Answer the licences of an account, or with ``target`` those that were sold of something."""
        chain, page = self._chain.get(), PageQuery.read(ctx.query)
        await chain.try_catch_up()
        target = ctx.query.text("target", None, bytes_max=4096)
        limit = min(page.limit, 200)
        if target is not None:
            thing = await named(self._library, target)
            rows = await chain.tables.licences_for(thing.id, cursor=page.cursor or None, limit=limit)
        else:
            typed = ctx.query.text("account", None, bytes_max=64)
            account = await self._whose(typed)
            rows = await chain.tables.licences_of(account, cursor=page.cursor or None, limit=limit)
        now_s = await chain.reader.time_s()
        items = []
        for row in rows.rows:
            text, title = await title_of(self._library, row.id)
            currency = await chain.currencies.of(Account(row.token))
            items.append(
                {
                    "licence": "0x" + row.licence_id.hex(),
                    "id": text,
                    "title": title,
                    "term": row.term_id,
                    "licensee": account_text(Account(row.licensee)),
                    "started_s": row.started_s,
                    "expires_s": None if row.expires_at_s == FOR_EVER else row.expires_at_s,
                    "live": not row.is_revoked and row.expires_at_s > now_s,
                    "refunded": row.is_revoked,
                    "paid": format_amount(int.from_bytes(row.paid), currency),
                    "confirmations": chain.indexer.confirmations(row.block),
                }
            )
        return Reply.page(_page(items, rows))

    @route("GET", "/api/v1/earnings", scope=Scope.READ_MUSIC)
    async def earnings(self, ctx: ApiContext) -> Reply:
        """Answer what an account's music has earned, what waits to be divided, and what it may withdraw."""
        chain = self._chain.get()
        typed = ctx.query.text("account", None, bytes_max=64)
        account = await self._whose(typed)
        await chain.try_catch_up()
        waiting = await self._waiting(chain, account)
        owed = []
        for row in await chain.tables.owed(account):
            currency = await chain.currencies.of(Account(row.token))
            owed.append(
                {
                    "symbol": currency.symbol,
                    "owed": format_amount(int.from_bytes(row.owed), currency),
                    "withdrawn": format_amount(int.from_bytes(row.withdrawn), currency),
                }
            )
        items = [
            {
                "id": (await title_of(self._library, number))[0],
                "title": (await title_of(self._library, number))[1],
                "percent": bps / 100,
                "waiting": format_amount(units, currency),
                "total": format_amount(total, currency),
            }
            for number, _, currency, units, total, bps in waiting
        ]
        return Reply.ok({"account": account_text(account), "items": items, "owed": owed})

    @route("POST", "/api/v1/market/withdraw", scope=Scope.WRITE_MUSIC)
    async def withdraw(self, ctx: ApiContext) -> Reply:
        """Answer what dividing and paying out an account's earnings would do, and its code.

        At most 32 things are divided at once, those that bring most first; ``later`` counts the others.
        """
        chain, account = self._chain.get(), self._account(ctx)
        await chain.catch_up()
        waiting = [each for each in await self._waiting(chain, account) if each[3]]
        waiting.sort(key=lambda each: each[3], reverse=True)
        now, later = waiting[:_DIVIDED_MAX], waiting[_DIVIDED_MAX:]
        drafts: list[Draft] = []
        expected: dict[Account, int] = {}
        for number, shares, currency, units, _, _ in now:
            token = currency.token or _ZERO
            _, title = await title_of(self._library, number)
            drafts.append(chain.selling.settle(number, shares, token, title=title))
            expected[token] = expected.get(token, 0) + units
        for row in await chain.tables.owed(account):
            token = Account(row.token)
            expected[token] = expected.get(token, 0) + int.from_bytes(row.owed)
        paid = {token: units for token, units in expected.items() if units}
        if not paid:
            raise NotFoundError("nothing is owed to this account now: see 'marina earnings'")
        for token, units in paid.items():
            drafts.append(await chain.selling.withdraw(account, token, units))
        said = await quote(self._chain, drafts, account, max_fee=max_fee(ctx))
        return Reply.ok({**said, "later": len(later)})

    async def _whose(self, typed: str | None) -> Account:
        """Return the account that was named, the default one if none was."""
        if typed is None:
            return self._chain.wallet.default().account
        return await typed_account(typed, self._chain)

    def _account(self, ctx: ApiContext) -> Account:
        typed = ctx.body.text("account", None, bytes_max=64)
        wallet = self._chain.wallet
        return (wallet.default() if typed is None else wallet.find(typed)).account

    async def _named(self, ctx: ApiContext) -> Named:
        return await named(self._library, ctx.body.text("target"))

    async def _priced(self, ctx: ApiContext, number: bytes, field: str, title: str) -> list[Draft]:
        chain = self._chain.get()
        given = ctx.body.raw().get(field) or []
        if not isinstance(given, list) or len(given) > _TERMS_MAX:
            raise BadRequestError(f"'{field}' must be a list of at most {_TERMS_MAX} terms")
        terms = []
        for each in given:
            if not isinstance(each, dict) or not all(isinstance(value, str) for value in each.values()):
                raise BadRequestError(f"'{field}' must hold objects with price, period and kind")
            term = await parse_term(
                chain,
                each.get("price", ""),
                period=each.get("period", "forever"),
                kind=each.get("kind", "stream"),
            )
            terms.append(term)
        return list(await chain.selling.price(number, terms, title=title)) if terms else []

    async def _release_terms(self, chain: Chain, release: bytes) -> dict[str, Any] | None:
        if not any(release):
            return None
        rights = await chain.offers.rights(release)
        if rights is None:
            return None
        _, title = await title_of(self._library, release)
        return {
            "id": release_text(ReleaseId(release)),
            "title": title,
            "for_sale": rights.is_active and not rights.is_blocked,
            "items": [_offer(each) for each in await chain.offers.of(release)],
        }

    async def _waiting(
        self, chain: Chain, account: Account
    ) -> list[tuple[bytes, Sequence[SplitPart], Currency, int, int, int]]:
        """Return (id, splits, currency, this account's part that waits, of all times, its basis points)."""
        found: list[tuple[bytes, Sequence[SplitPart], Currency, int, int, int]] = []
        for number in await self._shared_ids(chain, account):
            for row in await chain.tables.accruals(number):
                shares = await chain.tables.splits(number, row.splits_hash)
                parts = [
                    SplitPart(Account(each.account), each.bps) for each in (shares.parts if shares else ())
                ]
                bps = next((each.bps for each in parts if each.account == account), 0)
                if not bps:
                    continue
                for part in row.parts:
                    currency = await chain.currencies.of(Account(part.token))
                    net = int.from_bytes(part.waiting_gross) - int.from_bytes(part.waiting_fee)
                    total = int.from_bytes(part.total_gross) - int.from_bytes(part.total_fee)
                    found.append((number, parts, currency, net * bps // 10_000, total * bps // 10_000, bps))
        return found

    async def _shared_ids(self, chain: Chain, account: Account) -> list[bytes]:
        found: list[bytes] = []
        cursor: str | None = None
        while len(found) < _SHARED_MAX:
            page = await chain.tables.shared_with(account, cursor=cursor, limit=200)
            found += [row.id for row in page.rows]
            cursor = page.cursor
            if cursor is None:
                break
        return found


def _offer(each: Offer) -> dict[str, Any]:
    return {
        "term": each.term,
        "price": format_amount(each.price.value, each.price.currency),
        "units": str(each.price.value),
        "symbol": each.price.currency.symbol,
        "kind": KINDS.get(each.kind, str(each.kind)),
        "period_s": each.period_s or None,
        "span": each.span,
        "sold": each.is_sold,
    }


def _until(held: tuple[bytes, int] | None) -> int | str | None:
    if held is None:
        return None
    return "forever" if held[1] == FOR_EVER else held[1]


def _licence_id(text: str) -> bytes:
    try:
        licence = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        licence = b""
    if len(licence) != 32:
        raise UsageError("a licence is 0x and 64 digits: see 'marina licence list'")
    return licence


def _page(items: list[dict[str, Any]], rows: Rows[Any]) -> Page:
    return Page(items, rows.cursor)
