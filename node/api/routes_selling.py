"""Selling a release: what is missing of it on the chain; splitting its keys anew."""

from __future__ import annotations

from typing import Any

import trio

from marina.ids import Account, account_text, release_text
from node.api.reply import Reply
from node.api.router import ApiContext, route
from node.api.routes_wallet import max_fee
from node.api.sale_fields import read_redrawn, read_sale
from node.api.sale_offer import choice_json
from node.api.scopes import Scope
from node.chain.spending import quote
from node.chain.things import named
from node.publishing import announce
from node.services import Services

_SPLITS_STAY = (
    "it is registered already, and who is paid stays as it was: 'marina release splits' changes that for "
    "what comes later"
)


class SellingRoutes:
    """What an artist does with a release that is sold."""

    def __init__(self, *, services: Services, succession: trio.Lock) -> None:
        """Take the services; ``succession`` is held while a successor of a release is signed."""
        self._services = services
        self._succession = succession

    @route("POST", "/api/v1/releases/{id}/sell", scope=Scope.WRITE_MUSIC)
    async def sell(self, ctx: ApiContext) -> Reply:
        """Answer what is missing for a release to be sold as asked, and its code; no code when all is done.

        It is registered, its keyboxes are anchored, its prices set: whatever of that is not so already.
        """
        chain = self._services.chain
        typed = ctx.body.text("account", None, bytes_max=64)
        artist = (chain.wallet.default() if typed is None else chain.wallet.find(typed)).account
        names: dict[str, Account] = {}
        sale = await read_sale(ctx.body, artist, chain, names)
        thing = await named(self._services.library, ctx.params["id"])
        drafts = await self._services.selling.desk.sell(thing, sale, artist)
        is_new = any(each.what == "registry.register" for each in drafts)
        said = {"warnings": [_SPLITS_STAY] if len(sale.splits) > 1 and not is_new else []}
        if not drafts:
            return Reply.ok({**_nothing(account_text(artist)), **said})
        asked = await quote(chain, drafts, artist, max_fee=max_fee(ctx), names=names)
        return Reply.ok({**asked, **said})

    @route("POST", "/api/v1/releases/{id}/reissue", scope=Scope.WRITE_MUSIC)
    async def reissue(self, ctx: ApiContext) -> Reply:
        """Split the keys of a release anew, sign the successor, and answer what anchoring it takes.

        With ``dry_run`` guardians are drawn and asked, and nothing is signed.
        """
        services, chain = self._services, self._services.chain
        typed = ctx.body.text("account", None, bytes_max=64)
        payer = (chain.wallet.default() if typed is None else chain.wallet.find(typed)).account
        async with self._succession:
            current = await services.library.release(ctx.params["id"])
            target = await services.library.resolve_release_cid(current.cid)
            tiers = await services.selling.desk.sold(target)
            wanted = read_redrawn(ctx.body, tiers)
            if ctx.body.flag("dry_run"):
                choice = await services.selling.desk.redraw(tiers, wanted)
                return Reply.ok({**_nothing(account_text(payer)), **choice_json(choice)})
            done = await services.selling.desk.reissue(target, wanted)
            if done.published is not None:
                await announce(services, done.published)
        said = {
            "release": release_text(current.release.release_id),
            "version": (done.published.signed if done.published else target.signed).release.version,
            "is_resumed": done.published is None,
            **choice_json(done.choice),
        }
        if not done.drafts:
            return Reply.ok({**_nothing(account_text(payer)), **said})
        return Reply.ok({**await quote(chain, done.drafts, payer, max_fee=max_fee(ctx)), **said})


def _nothing(account: str) -> dict[str, Any]:
    """Return the quote of nothing, which needs no confirmation."""
    return {
        "confirm": None, "account": account, "chain": None, "transactions": [], "spend": [],
        "left_today": [], "fee_max": None, "waits": False,
    }  # fmt: skip
