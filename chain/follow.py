"""What becomes of a sent transaction: taken, mined, dropped, replaced, in a block that is dropped itself."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from chain.errors import RevertedError, RpcError
from chain.fees import FeeOffer, bump
from chain.gateway import Gateway, Message, Receipt
from chain.journal import Attempt, Journal, State, Transaction, number_bytes
from marina.clock import Clock
from marina.errors import MarinaError
from marina.ids import Account

log = logging.getLogger("marina.chain")

Sign = Callable[[Transaction, FeeOffer | None, bool], Awaitable[Transaction]]
"""(transaction, fee offer or None for the next nonce and the policy's fee, whether to cancel) → signed and
written down."""

_STUCK_BLOCKS = 6
_STUCK_S_MIN = 30.0
_KNOWN = ("already known", "known transaction", "already imported", "alreadyknown")
_TAKEN = ("nonce too low", "replacement transaction underpriced", "nonce is too low", "oldnonce")


class Follower:
    """Moves transactions through their states; each change is on disk before the next.

    The caller lets one task at a time in, with the journal's newest version: an older one written back
    would forget signed bytes, and with them that the intent may be paid already.
    """

    def __init__(
        self,
        *,
        gateway: Gateway,
        journal: Journal,
        sign: Sign,
        clock: Clock,
        on_mined: Callable[[int], None],
    ) -> None:
        self._gateway = gateway
        self._journal = journal
        self._sign = sign
        self._clock = clock
        self._on_mined = on_mined

    async def send(self, transaction: Transaction, *, is_first: bool = False) -> Transaction:
        """Hand the newest signed bytes to the chain and return how it took them.

        Args:
            transaction: signed and written down.
            is_first: these bytes have never been sent before.
        """
        try:
            await self._gateway.send(transaction.raw)
        except RpcError as err:
            words = err.message.lower()
            if not any(each in words for each in _KNOWN):
                return await self._refused(transaction, err, is_first=is_first)
        return await self._put(transaction, state=State.PENDING.value, reason="")

    async def advance(self, transaction: Transaction) -> Transaction:
        """Look where a sent transaction stands and do what is needed.

        Raises:
            NetworkError: the chain does not answer; nothing has changed.
            VaultLockedError: it must be signed again and cannot be.
        """
        found = await self._receipt(transaction)
        if found is not None:
            return await self._mined(transaction, *found)
        if transaction.state == State.MINED:
            log.warning("a block with a transaction of this node was dropped by the chain")
            transaction = await self._put(
                transaction,
                state=State.PENDING.value,
                mined=b"",
                block_number=0,
                block_hash=b"",
                confirmations=0,
                reorgs=transaction.reorgs + 1,
            )
        if await self._is_void(transaction):
            return await self._again(transaction)
        if not await self._gateway.is_known(transaction.attempts[-1].hash):
            transaction = await self.send(transaction)
        return await self._hurry(transaction)

    async def cancel(self, transaction: Transaction) -> Transaction:
        """Sign a transaction that sends nothing, for the same place at a higher fee."""
        last = transaction.attempts[-1]
        market = await self._gateway.fees()
        fee = bump(FeeOffer(last.fee_wei, last.tip_wei), market, self._gateway.profile)
        return await self._sign(transaction, fee, True)

    async def _receipt(self, transaction: Transaction) -> tuple[Attempt, Receipt] | None:
        for attempt in reversed(transaction.attempts):
            receipt = await self._gateway.receipt(attempt.hash)
            if receipt is not None:
                return attempt, receipt
        return None

    async def _mined(self, transaction: Transaction, attempt: Attempt, receipt: Receipt) -> Transaction:
        confirmations = max(0, await self._gateway.head() - receipt.number + 1)
        is_new = receipt.block != transaction.block_hash
        if not is_new and confirmations == transaction.confirmations:
            return transaction
        reason = transaction.reason
        if is_new:
            reason = "" if receipt.is_success else await self._why(transaction, receipt)
        state = State.MINED
        if confirmations >= self._gateway.profile.confirmations:
            state = State.CONFIRMED if receipt.is_success else State.FAILED
            if attempt.is_cancel:
                state, reason = State.CANCELLED, "taken back as you asked"
        transaction = await self._put(
            transaction,
            state=state.value,
            mined=attempt.hash,
            block_number=receipt.number,
            block_hash=receipt.block,
            confirmations=confirmations,
            gas_used=receipt.gas_used,
            fee_paid_wei=number_bytes(receipt.gas_used * receipt.gas_price_wei),
            created=receipt.created or b"",
            reorgs=transaction.reorgs + (1 if is_new and transaction.block_hash else 0),
            reason=reason,
        )
        if is_new:
            self._on_mined(receipt.number)
        return transaction

    async def _why(self, transaction: Transaction, receipt: Receipt) -> str:
        """Return why a mined transaction failed: what the same call answers in the state before its block."""
        to = Account(transaction.to) if transaction.to else None
        message = Message(Account(transaction.account), to, transaction.value_wei, transaction.data)
        try:
            await self._gateway.call(message, max(0, receipt.number - 1))
        except RevertedError as err:
            return str(err)
        except MarinaError:
            return "it failed, and the endpoint does not say why"
        if receipt.gas_used >= transaction.gas:
            return "it ran out of gas"
        return "it failed because the chain's state had changed before it was mined"

    async def _is_void(self, transaction: Transaction) -> bool:
        """Return whether the chain proves that nothing signed for this intent can be mined any more.

        Another program used the same account: a foreign transaction has the nonce, in a block with enough
        confirmations. That it is not one of ours is looked up after the count was read.
        """
        settled = max(0, await self._gateway.head() - self._gateway.profile.confirmations + 1)
        used = await self._gateway.nonce(Account(transaction.account), settled)
        if used <= transaction.attempts[-1].nonce:
            return False
        return await self._receipt(transaction) is None

    async def _again(self, transaction: Transaction) -> Transaction:
        if transaction.attempts[-1].is_cancel:
            return await self._put(
                transaction, state=State.CANCELLED.value, reason="its place was taken by another transaction"
            )
        log.warning("another program used this account's nonce: the transaction is signed again")
        transaction = await self._sign(transaction, None, False)
        return await self.send(transaction, is_first=True)

    async def _hurry(self, transaction: Transaction) -> Transaction:
        """Offer more for a transaction that blocks pass over because of its fee."""
        last = transaction.attempts[-1]
        patience_s = max(_STUCK_S_MIN, _STUCK_BLOCKS * self._gateway.profile.block_s)
        if self._clock.now_s() - last.signed_s < patience_s:
            return transaction
        market = await self._gateway.fees()
        if last.fee_wei >= market.base_wei + min(last.tip_wei, self._gateway.profile.min_tip_wei):
            return transaction  # the fee is enough: it waits for something else
        fee = bump(FeeOffer(last.fee_wei, last.tip_wei), market, self._gateway.profile)
        cap = int.from_bytes(transaction.fee_cap_wei)
        if cap and fee.cost_wei(transaction.gas) > cap:
            return await self._put(transaction, reason="it waits for a lower network fee, as --max-fee says")
        transaction = await self._sign(transaction, fee, last.is_cancel)
        return await self.send(transaction)

    async def _refused(self, transaction: Transaction, err: RpcError, *, is_first: bool) -> Transaction:
        words = err.message.lower()
        if any(each in words for each in _TAKEN) or not (is_first and err.is_alone):
            # Perhaps it is in the chain already, or in another endpoint's pool: what is proven decides.
            return await self._put(transaction, reason=f"not taken yet: {err.message}"[:500])
        return await self._put(
            transaction, state=State.FAILED.value, reason=f"the chain refused it: {err.message}"[:500]
        )

    async def _put(self, transaction: Transaction, **changes: object) -> Transaction:
        changed = replace(transaction, **changes)  # type: ignore[arg-type]
        if changed != transaction:
            await self._journal.put(changed)
        return changed
