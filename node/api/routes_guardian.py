"""Guardians: this node as one, and who the others are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chain.amount import UINT96_MAX, Amount, format_amount, parse_amount
from marina.errors import NetworkError, UsageError
from marina.ids import Account, account_text
from node.api.reply import Reply
from node.api.router import ApiContext, route
from node.api.routes_wallet import max_fee
from node.api.scopes import Scope
from node.chain.service import Chain, ChainService
from node.chain.spending import quote
from node.guardian.service import GuardianService
from p2p.peerkey import peer_of_key
from storage.content.guarded import KeyHolder
from storage.content.holder_text import holder_text
from storage.identity.owner import Owner

if TYPE_CHECKING:
    from node.guardian.enlist import Enlisting

_PAGE_MAX = 200


class GuardianRoutes:
    """What somebody does who keeps keys for artists. A guardian is always the node's own account."""

    def __init__(self, *, chain: ChainService, guardian: GuardianService, owner: Owner) -> None:
        self._chain = chain
        self._guardian = guardian
        self._owner = owner

    @route("GET", "/api/v1/guardian", scope=Scope.READ_MUSIC)
    async def status(self, ctx: ApiContext) -> Reply:  # noqa: ARG002 - a handler's signature
        """Answer whether this node keeps keys, what it released, and what the registry says of it."""
        facts = await self._guardian.facts()
        if not self._owner.is_locked:
            facts["key"] = holder_text(self._holder())
        try:
            registered, problem = await self._registered(), None
        except NetworkError as err:
            registered, problem = None, str(err)
        return Reply.ok({**facts, "registered": registered, "problem": problem})

    @route("GET", "/api/v1/guardians", scope=Scope.READ_MUSIC)
    async def guardians(self, ctx: ApiContext) -> Reply:
        """Answer who is registered, those that are leaving too."""
        chain = self._chain.get()
        await chain.try_catch_up()
        cursor = ctx.query.text("cursor", None, bytes_max=512)
        limit = ctx.query.whole("limit", _PAGE_MAX, low=1, high=_PAGE_MAX)
        found = await chain.tables.all_guardians(cursor=cursor, limit=limit)
        mmt = chain.currencies.mmt
        items = [
            {
                "account": account_text(Account(each.account)),
                "peer": peer_of_key(each.peer_key),
                "bond": format_amount(int.from_bytes(each.bond), mmt),
                "fee": format_amount(int.from_bytes(each.fee_per_release), mmt),
                "active_s": each.active_s,
                "unlocks_s": each.unlocks_s or None,
                "removed": each.is_removed,
            }
            for each in found.rows
        ]
        return Reply.ok({"items": items, "nextCursor": found.cursor})

    @route("POST", "/api/v1/guardian", scope=Scope.ADMIN)
    async def switch(self, ctx: ApiContext) -> Reply:
        """Answer key requests from now on, or no longer."""
        if "on" not in ctx.body:
            raise UsageError("say 'on': true to answer key requests, false to answer none")
        await self._guardian.switch(ctx.body.flag("on"))
        return Reply.ok(await self._guardian.facts())

    @route("POST", "/api/v1/guardian/enlist", scope=Scope.ADMIN)
    async def enlist(self, ctx: ApiContext) -> Reply:
        """Answer what registering this node with a bond would do, and its code; nothing to do is no quote."""
        chain, account = self._chain.get(), self._account(ctx)
        bond, fee = (self._amount(ctx, chain, name) for name in ("bond", "fee"))
        drafts = await self._enlisting(chain).enlist(account, self._holder(), bond=bond, fee=fee)
        if not drafts:
            return Reply.ok({"confirm": None, "transactions": []})
        return Reply.ok(await quote(self._chain, drafts, account, max_fee=max_fee(ctx)))

    @route("POST", "/api/v1/guardian/beat", scope=Scope.ADMIN)
    async def beat(self, ctx: ApiContext) -> Reply:
        """Answer what a sign of life would do, and its code."""
        account = self._account(ctx)
        drafts = await self._enlisting(self._chain.get()).beat(account)
        return Reply.ok(await quote(self._chain, drafts, account, max_fee=max_fee(ctx)))

    @route("POST", "/api/v1/guardian/unbond", scope=Scope.ADMIN)
    async def unbond(self, ctx: ApiContext) -> Reply:
        """Answer what leaving would do, and its code."""
        account = self._account(ctx)
        drafts = await self._enlisting(self._chain.get()).leave(account)
        return Reply.ok(await quote(self._chain, drafts, account, max_fee=max_fee(ctx)))

    @route("POST", "/api/v1/guardian/withdraw", scope=Scope.ADMIN)
    async def withdraw(self, ctx: ApiContext) -> Reply:
        """Answer what getting the bond back would do, and its code."""
        account = self._account(ctx)
        drafts = await self._enlisting(self._chain.get()).withdraw(account)
        return Reply.ok(await quote(self._chain, drafts, account, max_fee=max_fee(ctx)))

    async def _registered(self) -> dict[str, Any] | None:
        """Return what the registry says of this owner, None for nothing; NetworkError without a chain."""
        if self._chain.profile is None or not self._chain.has_contracts:
            return None
        chain = self._chain.get()
        found = await self._enlisting(chain).registration(self._owner.account)
        if found is None:
            return None
        mmt = chain.currencies.mmt
        return {
            "account": account_text(self._owner.account),
            "bond": format_amount(found.bond, mmt),
            "fee": format_amount(found.fee, mmt),
            "active_s": found.active_s,
            "unlocks_s": found.unlocks_s or None,
            "this_node": found.peer_key == self._owner.device.public_key,
        }

    def _account(self, ctx: ApiContext) -> Account:
        """Return the node's own account; UsageError when the request names another one to pay."""
        typed, mine = ctx.body.text("account", None, bytes_max=64), self._owner.account
        if typed is not None and self._chain.wallet.find(typed).account != mine:
            raise UsageError(
                "a guardian is always this node's own account, which pays: leave --account away, and send it "
                "what it needs with 'marina wallet send'"
            )
        return mine

    def _amount(self, ctx: ApiContext, chain: Chain, name: str) -> Amount | None:
        """Return an amount of MMT from the body, None where it is not given."""
        typed, mmt = ctx.body.text(name, None, bytes_max=100), chain.currencies.mmt
        if typed is None:
            return None
        return parse_amount(typed, (mmt,), value_max=UINT96_MAX, default=mmt, is_zero_allowed=name == "fee")

    def _enlisting(self, chain: Chain) -> Enlisting:
        from node.guardian.enlist import Enlisting

        return Enlisting(reader=chain.reader, buying=chain.buying, mmt=chain.currencies.mmt)

    def _holder(self) -> KeyHolder:
        key = self._owner.key_holder_key().public_key().public_bytes_raw()
        return KeyHolder(self._owner.device.public_key, key)
