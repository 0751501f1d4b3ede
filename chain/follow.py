"""What becomes of a sent transaction: taken, mined, dropped, replaced, in a block that is dropped itself."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from chain.errors import RevertedError, RpcError, SpendingLimitError, TransactionFailedError
from chain.fees import FeeOffer, bump, is_passed_over
from chain.gateway import Gateway, Message, Receipt
from chain.intent import fee_cap
from chain.journal import Attempt, Journal, State, Transaction, number_bytes, reason_text
from chain.refusals import Refusal, refusal, sentence
from marina.clock import Clock
from marina.ids import Account

log = logging.getLogger("marina.chain")

Sign = Callable[[Transaction, FeeOffer | None, bool], Awaitable[Transaction]]
"""(transaction, fee offer or None for the next nonce and the policy's fee, whether to cancel) → signed and
written down."""

_STUCK_BLOCKS = 6
_STUCK_S_MIN = 30.0
_OUTPRICED_BLOCKS = 2
_OUTPRICED_S_MIN = 3.0
_LAG_BLOCKS = 3
_LAG_S_MIN = 10.0
"""An endpoint may be so far behind another; a block that is missing for longer is no longer in the chain."""
_PROOF_BLOCKS = 2
_GAP = (
    "it waits for an earlier transaction of the account, which another program made: if that one never "
    "comes, the next transaction from here takes its place"
)


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
        on_mined: Callable[[Transaction], None],
    ) -> None:
        self._gateway = gateway
        self._journal = journal
        self._sign = sign
        self._clock = clock
        self._on_mined = on_mined
        self._void_since_s: dict[bytes, float] = {}
        self._missing_since_s: dict[bytes, float] = {}

    async def send(self, transaction: Transaction, *, is_first: bool = False) -> Transaction:
        """Hand the newest signed bytes to the chain and return how it took them.

        Args:
            transaction: signed and written down.
            is_first: these bytes have never been sent before, so that a final refusal is told at once.
        """
        transaction, _ = await self._try(transaction, is_first=is_first)
        return transaction

    async def advance(self, transaction: Transaction) -> Transaction:
        """Look where a sent transaction stands and do what is needed.

        Raises:
            NetworkError: the chain does not answer; nothing has changed.
            VaultLockedError: it must be signed again and cannot be.
        """
        found = await self._receipt(transaction)
        if found is not None:
            self._forget(transaction)
            return await self._mined(transaction, *found)
        if transaction.state == State.MINED:
            if not await self._is_block_dropped(transaction):
                return transaction
            transaction = await self._back(transaction)
        last = transaction.attempts[-1]
        used = await self._gateway.nonce(Account(transaction.account))
        is_refused = transaction.state == State.REFUSED
        if used > last.nonce:
            if await self._is_void(transaction):
                self._forget(transaction)
                if is_refused:
                    return await self._put(transaction, state=State.FAILED.value)
                return await self._again(transaction)
            return transaction if is_refused else await self._put(transaction, reason=Refusal.TAKEN.value)
        kind = None
        if await self._gateway.is_known(last.hash):
            if is_refused:  # whoever refused it passed it on all the same
                transaction = await self._put(transaction, state=State.PENDING.value, reason="")
        elif is_refused:
            return transaction
        else:
            transaction, kind = await self._try(transaction, is_first=False)
        if used == last.nonce:  # else it waits for one ahead of it, and a higher fee helps nothing
            return await self._hurry(transaction, is_outpriced=kind is Refusal.FEE_LOW)
        if kind is None and self._has_gap_ahead(transaction, used):
            return await self._put(transaction, reason=_GAP)
        return transaction

    async def cancel(self, transaction: Transaction) -> Transaction:
        """Sign a transaction that sends nothing, for the same place at a higher fee."""
        last = transaction.attempts[-1]
        if last.is_cancel:
            return transaction
        market = await self._gateway.fees()
        fee = bump(FeeOffer(last.fee_wei, last.tip_wei), market, self._gateway.profile, transaction.gas, None)
        return await self._sign(transaction, fee, True)

    def _has_gap_ahead(self, transaction: Transaction, used: int) -> bool:
        """Return whether it waits for a nonce that no transaction of this node has."""
        live = self._journal.live(Account(transaction.account))
        ours = {attempt.nonce for each in live for attempt in each.attempts}
        return any(nonce not in ours for nonce in range(used, transaction.attempts[-1].nonce))

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
        is_settled = confirmations >= self._gateway.profile.confirmations
        if is_settled and await self._gateway.block_hash(receipt.number) != receipt.block:
            return transaction  # the receipt is of a block that the endpoint itself has dropped
        if is_settled and not receipt.is_success:
            await self._gateway.check_failure(attempt.hash, receipt)  # its payer would pay again
        reason = transaction.reason
        if is_new:
            reason = "" if receipt.is_success else await self._why(transaction, receipt)
        state = State.MINED
        if is_settled:
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
            self._on_mined(transaction)
        return transaction

    async def _why(self, transaction: Transaction, receipt: Receipt) -> str:
        """Return why a mined transaction failed: what the same call answers in the state before its block."""
        if receipt.gas_used >= transaction.gas:
            return "it ran out of gas"
        try:
            await self._gateway.call(_message(transaction), max(0, receipt.number - 1))
        except RevertedError as err:
            return str(err)
        except RpcError:
            return "it failed, and the endpoint does not say why"
        return "it failed because the chain's state had changed before it was mined"

    async def _is_block_dropped(self, transaction: Transaction) -> bool:
        """Return whether the block of a mined transaction is no longer in the chain."""
        found = await self._gateway.block_hash(transaction.block_number)
        if found == transaction.block_hash:
            return False
        if found is not None:
            return True
        # The chain ends before it: this endpoint lags behind, or the chain is a shorter one now.
        lag_s = max(_LAG_S_MIN, _LAG_BLOCKS * self._gateway.profile.block_s)
        return self._lasts(self._missing_since_s, transaction.id, lag_s)

    async def _back(self, transaction: Transaction) -> Transaction:
        log.warning("a block with a transaction of this node was dropped by the chain")
        return await self._put(
            transaction,
            state=State.PENDING.value,
            mined=b"",
            block_number=0,
            block_hash=b"",
            confirmations=0,
            gas_used=0,
            fee_paid_wei=b"",
            created=b"",
            reorgs=transaction.reorgs + 1,
            reason="",
        )

    async def _is_void(self, transaction: Transaction) -> bool:
        """Return whether the chain proves that nothing signed for this intent can be mined any more.

        Another program used the same account: a foreign transaction has the nonce, in a block with enough
        confirmations. Signing again on a wrong proof would pay twice, so it must hold at two looks some
        blocks' time apart.
        """
        settled = await self._gateway.head() - self._gateway.profile.confirmations + 1
        hashes = [each.hash for each in transaction.attempts]
        nonce = transaction.attempts[-1].nonce
        account = Account(transaction.account)
        if settled < 0 or not await self._gateway.is_void(account, nonce, hashes, settled):
            self._void_since_s.pop(transaction.id, None)
            return False
        return self._lasts(self._void_since_s, transaction.id, _PROOF_BLOCKS * self._gateway.profile.block_s)

    def _lasts(self, since_s: dict[bytes, float], transaction_id: bytes, duration_s: float) -> bool:
        now_s = self._clock.monotonic_s()
        return now_s - since_s.setdefault(transaction_id, now_s) >= duration_s

    def _forget(self, transaction: Transaction) -> None:
        self._void_since_s.pop(transaction.id, None)
        self._missing_since_s.pop(transaction.id, None)

    async def _again(self, transaction: Transaction) -> Transaction:
        if transaction.attempts[-1].is_cancel:
            return await self._put(
                transaction, state=State.CANCELLED.value, reason="its place was taken by another transaction"
            )
        log.warning("another program used this account's nonce: the transaction is signed again")
        try:
            await self._gateway.call(_message(transaction))
        except RevertedError as err:
            reason = f"another transaction of the account was faster, and now {err}"
            return await self._put(transaction, state=State.FAILED.value, reason=reason)
        try:
            transaction = await self._sign(transaction, None, False)
        except TransactionFailedError as err:
            return await self._put(transaction, state=State.FAILED.value, reason=str(err))
        return await self.send(transaction, is_first=True)

    async def _hurry(self, transaction: Transaction, *, is_outpriced: bool) -> Transaction:
        """Offer more for a transaction that blocks pass over because of its fee."""
        profile = self._gateway.profile
        last = transaction.attempts[-1]
        patience_s = max(_STUCK_S_MIN, _STUCK_BLOCKS * profile.block_s)
        if is_outpriced:
            patience_s = max(_OUTPRICED_S_MIN, _OUTPRICED_BLOCKS * profile.block_s)
        if self._clock.now_s() - last.signed_s < patience_s:
            return transaction
        offered = FeeOffer(last.fee_wei, last.tip_wei)
        market = await self._gateway.fees()
        if not is_outpriced and not is_passed_over(offered, market, profile):
            return transaction  # the fee is enough: it waits for something else
        try:
            fee = bump(offered, market, profile, transaction.gas, fee_cap(transaction))
            transaction = await self._sign(transaction, fee, last.is_cancel)
        except (SpendingLimitError, TransactionFailedError) as err:
            return await self._put(transaction, reason=str(err))
        return await self.send(transaction)

    async def _try(self, transaction: Transaction, *, is_first: bool) -> tuple[Transaction, Refusal | None]:
        try:
            await self._gateway.send(transaction.raw)
        except RpcError as err:
            kind = refusal(err)
            if kind is not Refusal.KNOWN:
                return await self._refused(transaction, err, is_first=is_first), kind
        return await self._put(transaction, state=State.PENDING.value, reason=""), None

    async def _refused(self, transaction: Transaction, err: RpcError, *, is_first: bool) -> Transaction:
        # Bytes that an endpoint may have are sent on: what is proven decides about them.
        is_over = is_first and err.is_alone and refusal(err).is_final
        state = State.REFUSED.value if is_over else transaction.state
        return await self._put(transaction, state=state, reason=sentence(err))

    async def _put(self, transaction: Transaction, **changes: object) -> Transaction:
        changed = replace(transaction, **changes)  # type: ignore[arg-type]
        changed = replace(changed, reason=reason_text(changed.reason))
        if changed != transaction:
            await self._journal.put(changed)
        return changed


def _message(transaction: Transaction) -> Message:
    to = Account(transaction.to) if transaction.to else None
    return Message(Account(transaction.account), to, transaction.value_wei, transaction.data)
