"""Selling a release: what is missing of it on the chain; splitting its keys anew, and who else may."""

from __future__ import annotations

from typing import Any

import trio

from marina.ids import Account, account_text, release_text
from node.api.reply import Reply
from node.api.router import ApiContext, route
from node.api.routes_wallet import TYPED_BYTES_MAX, max_fee, typed_account
from node.api.sale_fields import read_holder, read_redrawn, read_sale
from node.api.sale_offer import choice_json
from node.api.scopes import Scope
from node.chain.spending import quote
from node.chain.things import named
from node.publishing import announce
from node.services import Services
from storage.content.holder_text import PREFIX

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
        chain, artist = self._services.chain, self._account(ctx)
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
        """Split the keys of a release anew, and answer what anchoring it takes.

        The artist's node signs a successor of the release; a delegate's leaves it as it is.

        With ``dry_run`` guardians are drawn and asked, and nothing is signed.
        """
        services, payer = self._services, self._account(ctx)
        async with self._succession:
            current = await services.library.release(ctx.params["id"])
            target = await services.library.resolve_release_cid(current.cid)
            desk = services.selling.desk
            is_mine = current.release.account == services.owner.account
            tiers = await (desk.latest(target) if is_mine else desk.in_force(target))
            wanted = read_redrawn(ctx.body, tiers)
            if ctx.body.flag("dry_run"):
                choice = await (
                    desk.redraw(tiers, wanted)
                    if is_mine
                    else services.selling.delegate.redraw(target, wanted, payer)
                )
                return Reply.ok({**_nothing(account_text(payer)), **choice_json(choice)})
            done = await (
                desk.reissue(target, wanted)
                if is_mine
                else services.selling.delegate.reissue(target, wanted, payer)
            )
            if done.published is not None:
                await announce(services, done.published)
        said = {
            "release": release_text(current.release.release_id),
            "version": (done.published.signed if done.published else target.signed).release.version,
            "is_resumed": done.choice is None,
            **choice_json(done.choice),
        }
        if not done.drafts:
            return Reply.ok({**_nothing(account_text(payer)), **said})
        asked = await quote(services.chain, done.drafts, payer, max_fee=max_fee(ctx))
        return Reply.ok({**asked, **said})

    @route("POST", "/api/v1/releases/{id}/writers", scope=Scope.WRITE_MUSIC)
    async def writers(self, ctx: ApiContext) -> Reply:
        """Answer what letting a delegate anchor the keys of a release, or no longer, takes, and its code.

        ``to`` is its account, or the key by which it was named if its node can be asked.
        """
        services, artist = self._services, self._account(ctx)
        typed, names = ctx.body.text("to", bytes_max=TYPED_BYTES_MAX), dict[str, Account]()
        desk = services.selling.desk
        if typed.startswith(PREFIX):
            writer = await desk.account_of(read_holder(typed))
        else:
            writer = await typed_account(typed, services.chain, names)
        thing = await named(services.library, ctx.params["id"])
        drafts = await desk.allow(thing, writer, ctx.body.flag("allowed", default=True), artist)
        return Reply.ok(await quote(services.chain, drafts, artist, max_fee=max_fee(ctx), names=names))

    def _account(self, ctx: ApiContext) -> Account:
        """Return the wallet's account that pays: the one that was named, or the default one."""
        wallet, typed = self._services.chain.wallet, ctx.body.text("account", None, bytes_max=64)
        return (wallet.default() if typed is None else wallet.find(typed)).account


def _nothing(account: str) -> dict[str, Any]:
    """Return the quote of nothing, which needs no confirmation."""
    return {
        "confirm": None, "account": account, "chain": None, "transactions": [], "spend": [],
        "left_today": [], "fee_max": None, "waits": False,
    }  # fmt: skip
