"""Sends transactions so that one intent is paid once, whatever crashes, and follows them to their end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import trio

from chain.accounts import TransactionSigner
from chain.draft import Draft
from chain.errors import TransactionFailedError
from chain.fees import FeeOffer, offer
from chain.follow import Follower
from chain.gateway import Gateway
from chain.intent import all_spends, draft_of, fee_cap, planned
from chain.journal import (
    DATA_BYTES_MAX,
    SUMMARY_BYTES_MAX,
    Journal,
    State,
    Transaction,
    reason_text,
)
from chain.nonces import NonceKeeper
from chain.signing import signed
from chain.simulate import Simulation, simulate
from chain.spending import SpendingGuard
from marina.clock import Clock
from marina.errors import MarinaError, NetworkError, NotFoundError, UsageError
from marina.ids import Account

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["Draft", "Sender", "Simulation"]
log = logging.getLogger("marina.chain")

_POLL_S_MIN, _POLL_S_MAX = 0.2, 4.0
_AGED_PART, _AGED_POLL_S_MAX = 20, 60.0
"""What no block has taken is looked at less and less often: a twentieth of its age apart."""
_ERROR_PAUSE_S = 3.0
_INTERRUPTED = "interrupted before it was signed: nothing was sent"


class Sender:
    """Submits drafts, keeps nonces, and follows what was sent."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        journal: Journal,
        guard: SpendingGuard,
        signer_for: Callable[[Account], TransactionSigner],
        clock: Clock,
        on_mined: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Connect nothing yet.

        Args:
            gateway: the chain.
            journal: where intents and transactions are written down.
            guard: the owner's limits.
            signer_for: signer of an account; VaultLockedError from its methods while locked.
            clock: the time.
            on_mined: told the block of each transaction that was mined.
        """
        self._gateway = gateway
        self._journal = journal
        self._guard = guard
        self._signer_for = signer_for
        self._clock = clock
        self._on_mined = on_mined
        self._turn = trio.Lock()
        self._loading = trio.Lock()
        self._wake = trio.Event()
        self._changed = trio.Event()
        self._is_loaded = False
        self._due_s: dict[bytes, float] = {}
        self._nonces = NonceKeeper(gateway=gateway, journal=journal, clock=clock)
        self._follower = Follower(
            gateway=gateway,
            journal=journal,
            sign=self._sign,
            clock=clock,
            on_mined=self._note_mined,
        )

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take up what an earlier run left, then follow every unfinished transaction until cancelled."""
        await self.load()
        task_status.started()
        poll_s = min(max(self._gateway.profile.block_s / 2, _POLL_S_MIN), _POLL_S_MAX)
        while True:
            is_well = await self._look(poll_s)
            self._tell()
            pause_s = poll_s if is_well else _ERROR_PAUSE_S
            if not self._journal.live():
                self._due_s.clear()
                pause_s = float("inf")
            with trio.move_on_after(pause_s):
                await self._wake.wait()
            self._wake = trio.Event()

    async def load(self) -> None:
        """Read the journal once."""
        async with self._loading:
            if not self._is_loaded:
                await self._journal.load(self._gateway.profile.chain_id)
                self._is_loaded = True

    async def simulate(self, draft: Draft, account: Account, max_fee_wei: int | None = None) -> Simulation:
        """Try a draft without sending it; errors as for ``chain.simulate.simulate``."""
        return await simulate(self._gateway, draft, account, max_fee_wei)

    async def submit(self, draft: Draft, *, account: Account, max_fee_wei: int | None = None) -> Transaction:
        """Write an intent down, sign it, send it, and return it as it stands then.

        A draft whose key has an unfinished transaction returns that one and sends nothing. One that was
        refused is made again in the same place, so that at most one of the two is mined.

        Raises:
            SpendingLimitError, InsufficientFundsError, RevertedError: nothing was sent.
            VaultLockedError: nothing was sent.
            TransactionFailedError: the chain refused it for good.
            ChainUnavailableError: nothing was sent, unless the error came after the signature was written
                down; then it is sent as soon as the chain answers.
            UsageError: the draft is larger than a transaction may be.
        """
        if len(draft.data) > DATA_BYTES_MAX or len(draft.summary.encode()) > SUMMARY_BYTES_MAX:
            raise UsageError(f"the transaction is too large: at most {DATA_BYTES_MAX} bytes of data")
        await self.load()
        try:
            async with self._turn:
                known = await self._known(draft.key)
                if known is not None and known.state != State.REFUSED:
                    return known
                transaction = await self._submit(draft, account, max_fee_wei, known)
        finally:
            self._wake.set()  # also when whoever submits goes away in the middle
        if transaction.state == State.REFUSED:
            raise TransactionFailedError(transaction.reason)
        return transaction

    async def _known(self, key: str) -> Transaction | None:
        """Return the unfinished transaction of an intent, as it stands now if it was refused."""
        known = self._journal.live_with(key)
        if known is None:
            return None
        if known.state == State.REFUSED:
            known = await self._follower.advance(known)
        elif known.state == State.PLANNED and not known.is_queued:
            known = await self._end(known, _INTERRUPTED)
        return known if known.is_live else None

    async def _submit(
        self, draft: Draft, account: Account, max_fee_wei: int | None, refused: Transaction | None
    ) -> Transaction:
        spends = all_spends(draft, self._gateway.profile)
        await self._guard.check(spends)
        try:
            gas = (await self.simulate(draft, account, max_fee_wei)).gas
        except NetworkError:
            if not draft.is_queued or refused is not None:
                raise
            gas = 0
        transaction = planned(
            draft,
            account,
            spends=spends,
            profile=self._gateway.profile,
            gas=gas,
            max_fee_wei=max_fee_wei,
            now_s=self._clock.now_s(),
        )
        if refused is None:
            await self._journal.put(transaction)
        else:
            transaction = await self._taken_over(refused, transaction)
        if gas == 0:
            return transaction
        try:
            transaction = await self._sign(transaction)
        except MarinaError as err:
            if refused is not None:
                raise
            if isinstance(err, NetworkError) and draft.is_queued:
                return transaction
            await self._end(transaction, f"not signed: {err}")
            raise
        return await self._follower.send(transaction, is_first=True)

    async def _taken_over(self, refused: Transaction, planned: Transaction) -> Transaction:
        """Let a new transaction take the place of a refused one, with all that was signed for the intent."""
        nonce = refused.attempts[-1].nonce
        if refused.account != planned.account or await self._gateway.nonce(Account(refused.account)) > nonce:
            raise TransactionFailedError(
                f"an endpoint refused this before ({refused.reason}), and it is not certain yet that it was "
                "not mined all the same: try again in some blocks' time"
            )
        made = replace(
            planned,
            state=State.REFUSED.value,
            attempts=refused.attempts,
            raw=refused.raw,
            reason=refused.reason,
            is_queued=False,
        )
        again = f"{refused.reason}; made again as {made.id.hex()}"
        await self._journal.put(made, replace(refused, state=State.FAILED.value, reason=reason_text(again)))
        return made

    async def wait(
        self, transaction_id: bytes, *, confirmations: int = 1, timeout_s: float = 120.0
    ) -> Transaction:
        """Return a transaction once it has so many confirmations or has ended, or as it stands in the end.

        Raises:
            TransactionFailedError: it failed; the sentence says why.
            NotFoundError: this node made no such transaction.
        """
        with trio.move_on_after(timeout_s):
            while True:
                changed = self._changed
                found = await self.get(transaction_id)
                if found.state in (State.FAILED, State.REFUSED):
                    raise TransactionFailedError(found.reason)
                if found.confirmations >= confirmations or not found.is_live:
                    return found
                await changed.wait()
        return await self.get(transaction_id)

    async def get(self, transaction_id: bytes) -> Transaction:
        """Return one transaction; NotFoundError if this node made none with this id."""
        found = await self._journal.get(transaction_id)
        if found is None:
            raise NotFoundError("this node made no such transaction: see 'marina tx'")
        return found

    async def cancel(self, transaction_id: bytes) -> Transaction:
        """Try to take a transaction back, by one that sends nothing and pays more for the same place.

        Which of the two is mined is the chain's choice: follow it.

        Raises:
            UsageError: it is mined already, or has ended.
            NotFoundError: this node made no such transaction.
        """
        await self.load()
        try:
            async with self._turn:
                found = await self.get(transaction_id)
                if found.state == State.PLANNED:
                    reason = "taken back before it was signed"
                    return await self._end(found, reason, state=State.CANCELLED)
                if State(found.state) not in (State.SIGNED, State.PENDING):
                    raise UsageError("it is mined or ended already and cannot be taken back")
                return await self._follower.send(await self._follower.cancel(found))
        finally:
            self._due_s.pop(transaction_id, None)
            self._wake.set()

    async def _look(self, poll_s: float) -> bool:
        """Move each transaction that is due, and return whether nothing stood in the way."""
        is_well = True
        for transaction in self._journal.live():
            now_s = self._clock.monotonic_s()
            if self._due_s.get(transaction.id, now_s) > now_s:
                continue
            try:
                await self._advance(transaction.id)
            except NetworkError as err:
                log.info("the chain is waited for: %s", err)
                # What is wrong may be wrong with this one alone: the next look begins behind it.
                self._due_s[transaction.id] = now_s + 2 * _ERROR_PAUSE_S
                return False
            except MarinaError as err:
                # A locked vault, an endpoint that refuses: this one waits, the others go on.
                log.info("a transaction waits: %s", err)
                is_well = False
            pause_s = max(poll_s, await self._age_s(transaction.id) / _AGED_PART)
            self._due_s[transaction.id] = now_s + min(pause_s, _AGED_POLL_S_MAX)
        return is_well

    async def _age_s(self, transaction_id: bytes) -> int:
        """Return for how long blocks have not taken what was signed last."""
        transaction = await self.get(transaction_id)
        if transaction.block_hash or not transaction.attempts:
            return 0
        return self._clock.now_s() - transaction.attempts[-1].signed_s

    async def _advance(self, transaction_id: bytes) -> None:
        async with self._turn:
            transaction = await self.get(transaction_id)
            if not transaction.is_live:
                return
            if transaction.state != State.PLANNED:
                await self._follower.advance(transaction)
            elif transaction.is_queued:
                await self._begin(transaction)
            else:  # whoever submitted it went away in the middle, or the process ended
                await self._end(transaction, _INTERRUPTED)

    async def _begin(self, transaction: Transaction) -> None:
        """Try, sign and send what waited for the chain."""
        account = Account(transaction.account)
        try:
            simulation = await self.simulate(draft_of(transaction), account, fee_cap(transaction))
        except NetworkError:
            raise
        except MarinaError as err:
            await self._end(transaction, str(err))
            return
        transaction = await self._sign(replace(transaction, gas=simulation.gas))
        await self._follower.send(transaction, is_first=True)

    async def _end(
        self, transaction: Transaction, reason: str, *, state: State = State.FAILED
    ) -> Transaction:
        ended = replace(transaction, state=state.value, reason=reason_text(reason))
        await self._journal.put(ended)
        self._tell()
        return ended

    async def _sign(
        self, transaction: Transaction, fee: FeeOffer | None = None, is_cancel: bool = False
    ) -> Transaction:
        """Sign with the next nonce, or the last one to replace an attempt, and write it down."""
        account = Account(transaction.account)
        is_replacing = fee is not None or transaction.state == State.REFUSED
        nonce = transaction.attempts[-1].nonce if is_replacing else await self._nonces.next(account)
        if fee is None:
            fee = offer(
                await self._gateway.fees(), self._gateway.profile, transaction.gas, fee_cap(transaction)
            )
        made = signed(
            transaction,
            self._signer_for(account),
            nonce=nonce,
            fee=fee,
            now_s=self._clock.now_s(),
            is_cancel=is_cancel,
        )
        await self._journal.put(made)
        return made

    def _note_mined(self, transaction: Transaction) -> None:
        self._nonces.note(transaction)
        self._on_mined(transaction.block_number)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
