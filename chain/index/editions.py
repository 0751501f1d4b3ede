"""Limited editions: their rows, and what the events of TrackEditions mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chain.events import Event
from chain.index.licensing import PAID_BY, TOKENS, TokenRow, token_in
from chain.index.rows import (
    NATIVE,
    Handler,
    Units,
    amount,
    changing,
    deriving,
    key,
    making,
    marking,
    place,
    putting,
    units,
)
from chain.index.store import Change
from marina.schema import U32, U64, Bytes20, Bytes32, record

EDITIONS = "edition"
EDITIONS_OF_TRACK = "track-edition"
BALANCES = "edition-balance"
HOLDERS = "edition-holder"
TRANSFERS = "edition-transfer"
EDITION_SALES = "edition-sale"
_NOBODY = bytes(20)
_UINT32_MAX = 2**32 - 1


@record("marina/chain/edition/1")
@dataclass(frozen=True, slots=True)
class EditionRow:
    """One edition as it is now.

    Attributes:
        edition_id: its number, 32 bytes.
        track_id: of the track or release.
        cap: the most that there ever are.
        minted: how many there are.
        price: of one, base units of ``token``.
        token: zero for the chain's coin.
        is_open: it is sold.
        block: last block that changed it.
    """

    edition_id: Bytes32
    track_id: Bytes32
    cap: U32
    minted: U32
    price: Units
    token: Bytes20
    is_open: bool
    block: U64


@record("marina/chain/edition-balance/1")
@dataclass(frozen=True, slots=True)
class BalanceRow:
    """How many of an edition an account holds."""

    account: Bytes20
    edition_id: Bytes32
    count: Units
    block: U64


@record("marina/chain/edition-transfer/1")
@dataclass(frozen=True, slots=True)
class TransferRow:
    """One movement of an edition; from the zero account it was minted."""

    edition_id: Bytes32
    sender: Bytes20
    receiver: Bytes20
    count: Units
    transaction: Bytes32
    block: U64
    moved_s: U64


@record("marina/chain/edition-sale/1")
@dataclass(frozen=True, slots=True)
class EditionSaleRow:
    """One purchase of an edition; ``paid`` holds the DAO's fee."""

    edition_id: Bytes32
    receiver: Bytes20
    payer: Bytes20
    count: Units
    token: Bytes20
    paid: Units
    transaction: Bytes32
    block: U64
    sold_s: U64


def _created(event: Event, _: int) -> Sequence[Change]:
    said, block = event.values, event.log.block
    number = said["editionId"].to_bytes(32)

    def make(old: EditionRow | None, others: Sequence[Any]) -> EditionRow:
        return EditionRow(
            edition_id=number,
            track_id=said["trackId"],
            cap=said["cap"],
            minted=old.minted if old else 0,
            price=units(said["price"]),
            token=token_in(others[0]),
            is_open=True,
            block=block,
        )

    return [
        making(EditionRow, key(EDITIONS, number), make, (key(TOKENS, bytes((said["token"],))), TokenRow)),
        marking(key(EDITIONS_OF_TRACK, said["trackId"], number)),
    ]


def _price_changed(event: Event, _: int) -> Sequence[Change]:
    price = units(event.values["price"])
    return [_of(event, event.values["editionId"], lambda row: replace(row, price=price))]


def _open_changed(event: Event, _: int) -> Sequence[Change]:
    return [_of(event, event.values["editionId"], lambda row: replace(row, is_open=event.values["open"]))]


def _sold(event: Event, time_s: int) -> Sequence[Change]:
    said, block = event.values, event.log.block
    number = said["editionId"].to_bytes(32)
    at = place(block, event.log.index)
    sale_key = key(EDITION_SALES, number, at)

    def make(others: Sequence[Any]) -> EditionSaleRow:
        return EditionSaleRow(
            edition_id=number,
            receiver=said["to"],
            payer=said["payer"],
            count=units(said["amount"]),
            token=NATIVE if others[0] is None else others[0].token,
            paid=units(said["paid"]),
            transaction=event.log.transaction,
            block=block,
            sold_s=time_s,
        )

    return [
        deriving(EditionSaleRow, sale_key, make, (key(EDITIONS, number), EditionRow)),
        marking(key(PAID_BY, said["payer"], at), sale_key),
    ]


def _moved_one(event: Event, time_s: int) -> Sequence[Change]:
    return _moved(event, time_s, [(event.values["id"], event.values["value"])])


def _moved_many(event: Event, time_s: int) -> Sequence[Change]:
    return _moved(event, time_s, zip(event.values["ids"], event.values["values"], strict=False))


def _moved(event: Event, time_s: int, what: Iterable[tuple[int, int]]) -> Sequence[Change]:
    sender, receiver, block = event.values["from"], event.values["to"], event.log.block
    changes: list[Change] = []
    for turn, (edition, count) in enumerate(what):
        number = edition.to_bytes(32)
        row = TransferRow(number, sender, receiver, units(count), event.log.transaction, block, time_s)
        at = place(block, event.log.index) + turn.to_bytes(2)
        changes.append(putting(key(TRANSFERS, number, at), row))
        if sender == _NOBODY:
            changes.append(_minted(event, edition, count))
        else:
            changes.append(_balance(sender, number, -count, block))
        if receiver != _NOBODY:
            changes.append(_balance(receiver, number, count, block))
            changes.append(marking(key(HOLDERS, number, receiver)))
    return changes


def _minted(event: Event, edition: int, count: int) -> Change:
    return _of(event, edition, lambda row: replace(row, minted=min(_UINT32_MAX, row.minted + count)))


def _balance(account: bytes, number: bytes, more: int, block: int) -> Change:
    def add(old: BalanceRow | None, _others: Sequence[Any]) -> BalanceRow:
        before = amount(old.count) if old else 0
        return BalanceRow(account, number, units(max(0, before + more)), block)

    return making(BalanceRow, key(BALANCES, account, number), add)


def _of(event: Event, edition: int, change: Callable[[EditionRow], EditionRow]) -> Change:
    block = event.log.block
    return changing(
        EditionRow, key(EDITIONS, edition.to_bytes(32)), lambda row: replace(change(row), block=block)
    )


HANDLERS: dict[tuple[str, str], Handler] = {
    ("TrackEditions", "EditionCreated"): _created,
    ("TrackEditions", "EditionPriceChanged"): _price_changed,
    ("TrackEditions", "EditionOpenChanged"): _open_changed,
    ("TrackEditions", "EditionSold"): _sold,
    ("TrackEditions", "TransferSingle"): _moved_one,
    ("TrackEditions", "TransferBatch"): _moved_many,
}
