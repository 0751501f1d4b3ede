"""Why a track plays, whether its keys would be released, and sales as they arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import trio

from chain.amount import format_amount
from chain.market.offers import DOWNLOAD, KINDS, STREAM
from marina.ids import Account, account_text
from node.api.reply import Reply
from node.api.router import ApiContext, route
from node.api.scopes import Scope
from node.chain.service import Chain, ChainService
from node.chain.things import title_of
from node.keys.assurance import Assurance, Assurer
from node.library import Library
from node.why import Why
from p2p.peerkey import peer_of_key
from storage.content.track import TrackManifest

if TYPE_CHECKING:
    from chain.index.licensing import SaleRow

_WAIT_S_MAX = 30
_LOOK_EVERY_S = 0.25
_THINGS_MAX = 1000
_NEWEST = 20
_SALES_MAX = 10_000
_KINDS = {name: number for number, name in KINDS.items()}


class ListeningRoutes:
    """What a listener wants to know of paid music, and an artist of its sales."""

    def __init__(self, *, why: Why, assurer: Assurer, chain: ChainService, library: Library) -> None:
        self._why = why
        self._assurer = assurer
        self._chain = chain
        self._library = library

    @route("GET", "/api/v1/why/{target}", scope=Scope.READ_MUSIC)
    async def why(self, ctx: ApiContext) -> Reply:
        """Answer who sent a track, which licence opens it, who released its key, what was paid to whom."""
        return Reply.ok(await self._why.of(ctx.params["target"]))

    @route("GET", "/api/v1/market/{target}/assurance", scope=Scope.READ_MUSIC)
    async def assurance(self, ctx: ApiContext) -> Reply:
        """Answer whether the sound is to be had and enough guardians would release the keys now."""
        kind = _KINDS[ctx.query.choice("kind", tuple(_KINDS), "stream")]
        target = await self._library.resolve(ctx.params["target"])
        return Reply.ok(assurance_json(await self._assurer.look(target.meant, kind, is_thorough=True)))

    @route("GET", "/api/v1/earnings/sales", scope=Scope.READ_MUSIC)
    async def sales(self, ctx: ApiContext) -> Reply:
        """Answer the newest sales of what an account shares in; with ``wait_s`` once there are later ones.

        ``after`` is the ``position`` of an earlier answer; only what came in behind it is answered.
        """
        chain = self._chain.get()
        typed = ctx.query.text("account", None, bytes_max=64)
        wallet = self._chain.wallet
        account = (wallet.default() if typed is None else wallet.find(typed)).account
        after = ctx.query.whole("after", -1, low=-1, high=2**53)
        ends_s = trio.current_time() + ctx.query.whole("wait_s", 0, low=0, high=_WAIT_S_MAX)
        await chain.try_catch_up()
        while True:
            indexed = (
                chain.indexer.state.block
            )  # before it is read: what comes meanwhile is in the next answer
            items = await self._newest(chain, account, after)
            if items or trio.current_time() >= ends_s:
                position = max((each["block"] for each in items), default=max(after, indexed))
                return Reply.ok({"items": items, "position": position})
            await trio.sleep(_LOOK_EVERY_S)

    async def _newest(self, chain: Chain, account: Account, after: int) -> list[dict[str, Any]]:
        """Return sales in blocks behind ``after``, the oldest first."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        seen = 0
        while seen < _THINGS_MAX:
            page = await chain.tables.shared_with(account, cursor=cursor, limit=200)
            for row in page.rows:
                found += await self._of_thing(chain, row.id, after)
            seen += len(page.rows)
            cursor = page.cursor
            if cursor is None:
                break
        return sorted(found, key=lambda each: (each["block"], each["transaction"]))

    async def _of_thing(self, chain: Chain, number: bytes, after: int) -> list[dict[str, Any]]:
        text, title = await title_of(self._library, number)
        found: list[dict[str, Any]] = []
        for sale in await self._sales(chain, number, after):
            currency = await chain.currencies.of(Account(sale.token))
            net = int.from_bytes(sale.paid) - int.from_bytes(sale.fee)
            found.append(
                {
                    "id": text,
                    "title": title,
                    "amount": format_amount(int.from_bytes(sale.paid), currency),
                    "net": format_amount(net, currency),
                    "net_units": str(net),
                    "symbol": currency.symbol,
                    "licensee": account_text(Account(sale.licensee)),
                    "transaction": "0x" + sale.transaction.hex(),
                    "block": sale.block,
                    "sold_s": sale.sold_s,
                }
            )
        return found

    async def _sales(self, chain: Chain, number: bytes, after: int) -> list[SaleRow]:
        """Return the newest sales in blocks behind ``after``: a screenful, or all that came since."""
        found: list[SaleRow] = []
        cursor: str | None = None
        while len(found) < _SALES_MAX:
            page = await chain.tables.sales(number, cursor=cursor, limit=_NEWEST)
            later = [each for each in page.rows if each.block > after]
            found += later
            cursor = page.cursor
            if after < 0 or cursor is None or len(later) < len(page.rows):
                break
        return found


async def sold_assurance(
    assurer: Assurer, tracks: Sequence[TrackManifest], offers: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Return whether tracks could be heard now under what is sold of them; None where no key is needed."""
    sold = {each["kind"] for each in offers if each["sold"]}
    kind = DOWNLOAD if sold == {KINDS[DOWNLOAD]} else STREAM
    found = await assurer.look(tracks, kind, is_thorough=True)
    return assurance_json(found) if found.tiers else None


def assurance_json(found: Assurance) -> dict[str, Any]:
    """Return it as clients see it."""
    quorum = found.quorum
    return {
        "tiers": found.tiers,
        "available": found.available,
        "problem": found.problem,
        "quorum": None
        if quorum is None
        else {
            "ready": quorum.ready,
            "needed": quorum.needed,
            "of": quorum.of,
            "delegates": quorum.delegates,
            "enough": quorum.is_enough,
            "thin": quorum.is_thin,
            "problems": [
                {"guardian": peer_of_key(key), "problem": words} for key, words in quorum.problems.items()
            ],
        },
    }
