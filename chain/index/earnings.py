"""Money that came in, was divided, is owed and was paid: rows, and what the ledger's events mean.

The rows count exactly as the contract does, so that what waits to be settled and what an account can
withdraw is known without asking it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from chain.events import Event
from chain.index.rows import Handler, Units, amount, key, making, place, putting, units
from chain.index.store import Change
from marina.schema import U64, Bytes20, Bytes32, Size, record

ACCRUALS = "accrual"
OWED = "owed"
CREDITS = "credit"
WITHDRAWALS = "withdrawal"
TOKENS_MAX = 256


@record(None)
@dataclass(frozen=True, slots=True)
class AccrualPart:
    """What came in of one token under one list of splits.

    Attributes:
        token: zero for the chain's coin.
        waiting_gross: not divided yet, the fee included.
        waiting_fee: the DAO's part of it.
        total_gross: of all times.
        total_fee: of all times.
    """

    token: Bytes20
    waiting_gross: Units
    waiting_fee: Units
    total_gross: Units
    total_fee: Units


@record("marina/chain/accrual/1")
@dataclass(frozen=True, slots=True)
class AccrualRow:
    """What came in for a track or release while one list of splits was in force."""

    id: Bytes32
    splits_hash: Bytes32
    parts: Annotated[tuple[AccrualPart, ...], Size(0, TOKENS_MAX)]
    block: U64


@record("marina/chain/owed/1")
@dataclass(frozen=True, slots=True)
class OwedRow:
    """What an account can withdraw of a token, and what it has withdrawn before."""

    account: Bytes20
    token: Bytes20
    owed: Units
    withdrawn: Units
    block: U64


@record("marina/chain/credit/1")
@dataclass(frozen=True, slots=True)
class CreditRow:
    """An account's part of what was divided, or a refund: one line of its earnings."""

    account: Bytes20
    token: Bytes20
    id: Bytes32
    amount: Units
    transaction: Bytes32
    block: U64
    credited_s: U64


@record("marina/chain/withdrawal/1")
@dataclass(frozen=True, slots=True)
class WithdrawalRow:
    """One payment to an account."""

    account: Bytes20
    token: Bytes20
    amount: Units
    transaction: Bytes32
    block: U64
    paid_s: U64


def accrued_change(
    number: bytes,
    splits_hash: bytes,
    block: int,
    what: Callable[[Sequence[Any]], tuple[bytes, int, int]],
    *reads: tuple[bytes, type],
) -> Change:
    """Return the change that adds money to what waits to be divided.

    Args:
        number: of the track or release.
        splits_hash: of the splits that divide it.
        block: where it came in.
        what: gives (token, gross, fee) from the rows in ``reads``.
        reads: (key, record) of rows that ``what`` needs.
    """

    def add(old: AccrualRow | None, others: Sequence[Any]) -> AccrualRow:
        token, gross, fee = what(others)
        row = old or AccrualRow(number, splits_hash, (), block)
        return _with_part(row, token, block, waiting=(gross, fee), total=(gross, fee))

    return making(AccrualRow, key(ACCRUALS, number, splits_hash), add, *reads)


def _accrued(event: Event, _: int) -> Sequence[Change]:
    said = event.values
    money = (said["token"], said["gross"], said["fee"])
    return [accrued_change(said["id"], said["splitsHash"], event.log.block, lambda _others: money)]


def _settled(event: Event, _: int) -> Sequence[Change]:
    said, block = event.values, event.log.block

    def take(old: AccrualRow | None, _others: Sequence[Any]) -> AccrualRow:
        row = old or AccrualRow(said["id"], said["splitsHash"], (), block)
        gone = (-said["amount"] - said["fee"], -said["fee"])
        return _with_part(row, said["token"], block, waiting=gone, total=(0, 0))

    return [making(AccrualRow, key(ACCRUALS, said["id"], said["splitsHash"]), take)]


def _credited(event: Event, time_s: int) -> Sequence[Change]:
    said, block = event.values, event.log.block
    row = CreditRow(
        account=said["account"],
        token=said["token"],
        id=said["id"],
        amount=units(said["amount"]),
        transaction=event.log.transaction,
        block=block,
        credited_s=time_s,
    )
    return [
        putting(key(CREDITS, row.account, place(block, event.log.index)), row),
        _owed_change(event, lambda owed: (owed[0] + said["amount"], owed[1])),
    ]


def _withdrawn(event: Event, time_s: int) -> Sequence[Change]:
    said, block = event.values, event.log.block
    row = WithdrawalRow(
        account=said["account"],
        token=said["token"],
        amount=units(said["amount"]),
        transaction=event.log.transaction,
        block=block,
        paid_s=time_s,
    )
    return [
        putting(key(WITHDRAWALS, row.account, place(block, event.log.index)), row),
        _owed_change(event, lambda owed: (owed[0] - said["amount"], owed[1] + said["amount"])),
    ]


def _owed_change(event: Event, change: Callable[[tuple[int, int]], tuple[int, int]]) -> Change:
    account, token, block = event.values["account"], event.values["token"], event.log.block

    def update(old: OwedRow | None, _others: Sequence[Any]) -> OwedRow:
        before = (amount(old.owed), amount(old.withdrawn)) if old else (0, 0)
        owed, withdrawn = change(before)
        return OwedRow(account, token, units(max(0, owed)), units(withdrawn), block)

    return making(OwedRow, key(OWED, account, token), update)


def _with_part(
    row: AccrualRow, token: bytes, block: int, *, waiting: tuple[int, int], total: tuple[int, int]
) -> AccrualRow:
    """Return a row with (gross, fee) added to what waits and to the sums of one token."""
    known = {each.token: each for each in row.parts}
    old = known.get(token) or AccrualPart(token, b"", b"", b"", b"")
    known[token] = AccrualPart(
        token=token,
        waiting_gross=units(max(0, amount(old.waiting_gross) + waiting[0])),
        waiting_fee=units(max(0, amount(old.waiting_fee) + waiting[1])),
        total_gross=units(amount(old.total_gross) + total[0]),
        total_fee=units(amount(old.total_fee) + total[1]),
    )
    return replace(row, parts=tuple(known[each] for each in sorted(known)), block=block)


HANDLERS: dict[tuple[str, str], Handler] = {
    ("MusicLicensing", "Accrued"): _accrued,
    ("MusicLicensing", "Settled"): _settled,
    ("MusicLicensing", "Credited"): _credited,
    ("MusicLicensing", "Withdrawn"): _withdrawn,
}
