"""Every transaction that this node means to make, from the intent to its end, on disk before it is sent.

The order is what makes a payment happen once: the intent is written, then the signed bytes, then they are
sent. After a crash the same bytes are sent again, never others, so one intent is mined at most once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from chain.amount import Amount
from marina.ids import Account
from marina.schema import (
    U64,
    Bytes16,
    Bytes20,
    Bytes32,
    Range,
    Size,
    decode_record,
    encode_record,
    record,
)
from storage.kv import KeyValueStore, Table

DATA_BYTES_MAX = 28 << 10
"""A little more than the largest creation code of ours: a record of twice this fits a message."""
SUMMARY_BYTES_MAX = 1024
REASON_BYTES_MAX = 1024
ATTEMPTS_MAX = 12
CANCEL_ATTEMPTS = 4
"""So many of them are kept for taking it back."""
_PAGE = 256


class State(IntEnum):
    """Where a transaction stands."""

    PLANNED = 0
    """Written down; not signed, so nothing can have been sent."""
    SIGNED = 1
    """The signed bytes are on disk; they may have been sent."""
    PENDING = 2
    """An endpoint has taken it."""
    MINED = 3
    """In a block that has not enough confirmations yet."""
    CONFIRMED = 4
    """In a block with enough confirmations, and successful."""
    FAILED = 5
    """Mined without success, or can never be mined."""
    CANCELLED = 6
    """Another transaction of the account took its place, as the owner asked."""
    REFUSED = 7
    """An endpoint says that no block can take it. That is not believed until its place is taken."""


LIVE = frozenset({State.PLANNED, State.SIGNED, State.PENDING, State.MINED, State.REFUSED})
SENT = frozenset({State.SIGNED, State.PENDING, State.MINED})


@record("marina/attempt/1")
@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction for an intent; of all of them at most one is mined.

    Attributes:
        nonce: of the account.
        hash: keccak256 of the signed bytes.
        fee_wei: max fee for each gas.
        tip_wei: priority fee for each gas.
        signed_s: Unix seconds.
        is_cancel: sends nothing to nobody, to take the place of the others.
    """

    nonce: U64
    hash: Bytes32
    fee_wei: U64
    tip_wei: U64
    signed_s: U64
    is_cancel: bool


@record("marina/spend/1")
@dataclass(frozen=True, slots=True)
class Spend:
    """What a transaction gives away.

    Attributes:
        token: the ERC-20's address, empty for the native coin.
        amount: base units, big-endian without leading zeros.
    """

    token: Annotated[bytes, Size(0, 20)]
    amount: Annotated[bytes, Size(0, 32)]

    @classmethod
    def of(cls, amount: Amount) -> Spend:
        """Return the spend of an amount."""
        return cls(amount.currency.token or b"", number_bytes(amount.value))

    @property
    def units(self) -> int:
        """The amount in base units."""
        return int.from_bytes(self.amount)


@record("marina/transaction/1")
@dataclass(frozen=True, slots=True)
class Transaction:
    """One intent and what became of it.

    Attributes:
        id: random.
        key: what makes two requests the same intent, like ``buy:…``.
        chain_id: EIP-155 id.
        account: pays and signs.
        to: called contract or receiver; empty creates a contract.
        value: wei, big-endian without leading zeros.
        data: call data or creation code.
        gas: limit.
        fee_cap_wei: the most that the network fee may be, big-endian; empty for the policy's own bound.
        what: kind, like ``licence.buy``.
        summary: one sentence for people.
        spends: what it gives away, the fee apart.
        created_s: Unix seconds.
        state: value of ``State``.
        attempts: what was signed, oldest first.
        raw: signed bytes of the newest attempt, empty before the first.
        mined: hash of the attempt that was mined, empty for none.
        block_number: of the block that it is in, 0 for none.
        block_hash: of that block, empty for none.
        confirmations: seen so far.
        gas_used: gas.
        fee_paid_wei: network fee, big-endian.
        created: contract that it made, empty for none.
        reorgs: how often its block was dropped from the chain.
        reason: why it failed, empty while it has not.
        is_queued: whether it may wait for a chain that does not answer.
    """

    id: Bytes16
    key: Annotated[str, Size(1, 256)]
    chain_id: U64
    account: Bytes20
    to: Annotated[bytes, Size(0, 20)]
    value: Annotated[bytes, Size(0, 32)]
    data: Annotated[bytes, Size(0, DATA_BYTES_MAX)]
    gas: U64
    fee_cap_wei: Annotated[bytes, Size(0, 32)]
    what: Annotated[str, Size(1, 64)]
    summary: Annotated[str, Size(0, SUMMARY_BYTES_MAX)]
    spends: Annotated[tuple[Spend, ...], Size(0, 8)]
    created_s: U64
    state: Annotated[int, Range(min(State), max(State))]
    attempts: Annotated[tuple[Attempt, ...], Size(0, ATTEMPTS_MAX)]
    raw: Annotated[bytes, Size(0, DATA_BYTES_MAX + 1024)]
    mined: Annotated[bytes, Size(0, 32)]
    block_number: U64
    block_hash: Annotated[bytes, Size(0, 32)]
    confirmations: U64
    gas_used: U64
    fee_paid_wei: Annotated[bytes, Size(0, 32)]
    created: Annotated[bytes, Size(0, 20)]
    reorgs: U64
    reason: Annotated[str, Size(0, REASON_BYTES_MAX)]
    is_queued: bool

    @property
    def is_live(self) -> bool:
        """Whether it may still change."""
        return State(self.state) in LIVE

    @property
    def nonce(self) -> int | None:
        """Nonce of the newest attempt, None before the first."""
        return self.attempts[-1].nonce if self.attempts else None

    @property
    def value_wei(self) -> int:
        """The native coin that it carries."""
        return int.from_bytes(self.value)


def number_bytes(number: int) -> bytes:
    """Return a number big-endian without leading zeros."""
    return number.to_bytes((number.bit_length() + 7) // 8)


def reason_text(words: str) -> str:
    """Return why something failed, cut to what a record holds."""
    return words.encode()[:REASON_BYTES_MAX].decode(errors="ignore")


class Journal:
    """All transactions of a node, the newest first; the live ones of its chain in memory too."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._table = Table(store, "transactions")
        self._order = Table(store, "transactions-by-time")
        self._open = Table(store, "transactions-live")
        self._live: dict[bytes, Transaction] = {}
        self._chain_id = 0

    async def load(self, chain_id: int) -> None:
        """Read the unfinished transactions of a chain; called once, before anything else but ``page``."""
        self._chain_id = chain_id
        after = b""
        while True:
            page = await self._open.scan(after=after, limit=_PAGE)
            for key, _ in page:
                transaction = await self.get(key)
                if transaction is not None and transaction.is_live and transaction.chain_id == chain_id:
                    self._live[key] = transaction
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    def live(self, account: Account | None = None) -> list[Transaction]:
        """Return unfinished transactions in the order of their making, of one account or of all."""
        chosen = [each for each in self._live.values() if account is None or each.account == account]
        return sorted(chosen, key=lambda each: (each.created_s, each.id))

    def live_with(self, key: str) -> Transaction | None:
        """Return the unfinished transaction of an intent."""
        return next((each for each in self._live.values() if each.key == key), None)

    async def get(self, transaction_id: bytes) -> Transaction | None:
        """Return one transaction."""
        if transaction_id in self._live:
            return self._live[transaction_id]
        value = await self._table.get(transaction_id)
        return None if value is None else decode_record(Transaction, value)

    async def put(self, *transactions: Transaction) -> None:
        """Write transactions down, durably and all at once."""
        batch: list[tuple[bytes, bytes | None]] = []
        for each in transactions:
            place = each.created_s.to_bytes(8) + each.id
            batch += [
                (self._table.key(each.id), encode_record(each)),
                (self._order.key(place), each.id),
                (self._open.key(each.id), b"" if each.is_live else None),
            ]
        await self._store.write(batch)
        for each in transactions:
            if each.is_live:
                self._live[each.id] = each
            else:
                self._live.pop(each.id, None)

    async def page(self, *, before: bytes = b"", limit: int = 50) -> list[tuple[bytes, Transaction]]:
        """Return (cursor, transaction) pairs of all chains, the newest first, from ahead of a cursor."""
        rows = await self._order.scan_back(before=before, limit=limit)
        found: list[tuple[bytes, Transaction]] = []
        for place, transaction_id in rows:
            transaction = await self.get(transaction_id)
            if transaction is not None:
                found.append((place, transaction))
        return found

    async def since(self, from_s: int) -> list[Transaction]:
        """Return the chain's transactions made at or after a time, and older ones that are unfinished."""
        found = [each for each in self._live.values() if each.created_s < from_s]
        before = b""
        while True:
            page = await self.page(before=before, limit=_PAGE)
            found += [
                each for _, each in page if each.created_s >= from_s and each.chain_id == self._chain_id
            ]
            if len(page) < _PAGE or page[-1][1].created_s < from_s:
                return found
            before = page[-1][0]
