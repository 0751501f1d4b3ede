"""The owner's yes to a purchase from the player page, which may not sign: the passphrase, typed again.

The page's token plays and looks. A licence that it shows a quote of can be paid by whoever knows the
passphrase: it is good for this one quote, for licences alone, and wrong ones are counted for the whole
process (design, security §4 rule 10).
"""

from __future__ import annotations

from typing import Any

import trio

from marina.clock import Clock
from marina.errors import NotPermittedError
from marina.ratelimit import TokenBucket
from marina.secret import Secret
from node.api.errors import RateLimitedError
from node.api.reply import Reply
from node.api.router import ApiContext, route
from node.api.scopes import Scope
from node.chain.service import ChainService
from node.chain.spending import submit, transaction_json
from storage.identity.owner import Owner

TRIES = 5
_PAUSE_S = 12
_PER_S = 1 / _PAUSE_S
_WAIT_S_MAX = 50
_WHAT = frozenset({"licence.buy", "licence.renew", "licence.gift"})
_ALONG = frozenset({"token.approve"})


class PurchaseRoutes:
    """Paying for what was shown."""

    def __init__(self, *, chain: ChainService, owner: Owner, clock: Clock) -> None:
        self._chain = chain
        self._owner = owner
        self._clock = clock
        self._tries = TokenBucket(_PER_S, TRIES, clock.monotonic_s())

    @route("POST", "/api/v1/market/confirm", scope=Scope.READ_MUSIC)
    async def confirm(self, ctx: ApiContext) -> Reply:
        """Sign and send the purchase that was shown under a code, after the passphrase was given again.

        Answers the transactions, in a block unless ``wait_s`` was too short.
        """
        code = ctx.body.text("confirm", bytes_max=64)
        wait_s = ctx.body.whole("wait_s", 40, low=0, high=_WAIT_S_MAX)
        whats = {each.what for each in self._chain.confirmations.look(code).drafts}
        if not whats & _WHAT or whats - _WHAT - _ALONG:
            raise NotPermittedError("only a licence is paid with the passphrase: use the command line")
        if not self._tries.try_take(1, self._clock.monotonic_s()):
            raise RateLimitedError("too many tries: wait a minute", retry_after_s=_PAUSE_S)
        passphrase = Secret(ctx.body.text("passphrase", bytes_max=1024))
        await trio.to_thread.run_sync(self._owner.check_passphrase, passphrase)
        sent = await submit(self._chain, code, wait_s=wait_s)
        return Reply.ok({"items": [await self._mined(each, wait_s) for each in sent]})

    async def _mined(self, sent: dict[str, Any], wait_s: float) -> dict[str, Any]:
        found = await self._chain.money().sender.wait(bytes.fromhex(sent["id"]), timeout_s=wait_s)
        if found.block_number:
            await self._chain.reached(found.block_number, timeout_s=_WAIT_S_MAX)
        return transaction_json(self._chain, found)
