"""Terms, licences, sales and tips: their rows, and what the events of MusicLicensing mean.

``LicencePurchased`` does not repeat what the term and the fee already said, to be cheap: the token and
the DAO's part are taken from their rows, as the contract takes them from its storage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from chain.events import Event
from chain.index.earnings import accrued_change
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
from marina.schema import U8, U16, U32, U64, Bytes20, Bytes32, record

TERMS = "term"
LICENCES = "licence"
LICENCES_OF = "licence-of"
LICENCES_FOR = "licence-for"
SALES = "sale"
PAID_BY = "paid-by"
TIPS = "tip"
TOKENS = "token"
FEE = "fee"
FEE_HISTORY = "fee-history"
PAUSE = "pause"
FOREVER_S = 2**64 - 1
"""``expires_at_s`` of a licence without end."""
FEE_BPS_FIRST = 250
"""The fee before the DAO changes it."""
_BPS = 10_000


@record("marina/chain/token/1")
@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token that prices may be in, by its number; 0 is always the chain's own coin."""

    index: U8
    token: Bytes20
    is_allowed: bool
    block: U64


@record("marina/chain/fee/1")
@dataclass(frozen=True, slots=True)
class FeeRow:
    """The DAO's part of what is sold, in basis points."""

    bps: U16
    block: U64


@record("marina/chain/pause/1")
@dataclass(frozen=True, slots=True)
class PauseRow:
    """Until which Unix second nothing is sold; in the past when it is."""

    until_s: U64
    block: U64


@record("marina/chain/term/1")
@dataclass(frozen=True, slots=True)
class TermRow:
    """One way to buy a track or release; only ``is_enabled`` ever changes.

    Attributes:
        id: of the track or release.
        term_id: its number there.
        price: of one period, base units of ``token``.
        period_s: length of a period; 0 without end.
        token: zero for the chain's coin.
        kind: 1 stream, 2 download.
        is_enabled: it is sold.
        block: last block that changed it.
    """

    id: Bytes32
    term_id: U16
    price: Units
    period_s: U32
    token: Bytes20
    kind: U8
    is_enabled: bool
    block: U64


@record("marina/chain/licence/1")
@dataclass(frozen=True, slots=True)
class LicenceRow:
    """One account's licence of one term, as it is now.

    Attributes:
        licence_id: the contract's name of it.
        id: of the track or release.
        term_id: what was bought.
        licensee: who may hear it.
        started_s: when it began; a live one that is extended keeps its beginning.
        expires_at_s: first second at which it is over; ``FOREVER_S`` without end.
        token: it was paid in.
        paid: for all of it since ``started_s``.
        is_revoked: the owner ended it and paid back.
        block: last block that changed it.
    """

    licence_id: Bytes32
    id: Bytes32
    term_id: U16
    licensee: Bytes20
    started_s: U64
    expires_at_s: U64
    token: Bytes20
    paid: Units
    is_revoked: bool
    block: U64


@record("marina/chain/sale/1")
@dataclass(frozen=True, slots=True)
class SaleRow:
    """One purchase of a licence.

    Attributes:
        id: of the track or release.
        licence_id: what came of it.
        payer: who paid.
        licensee: for whom.
        term_id: what was bought.
        periods: how many.
        token: zero for the chain's coin.
        paid: base units of it, the fee included.
        fee: the DAO's part.
        splits_hash: of the splits that divide the rest, those of its time.
        transaction: hash.
        block: where it is.
        sold_s: time of that block.
    """

    id: Bytes32
    licence_id: Bytes32
    payer: Bytes20
    licensee: Bytes20
    term_id: U16
    periods: U16
    token: Bytes20
    paid: Units
    fee: Units
    splits_hash: Bytes32
    transaction: Bytes32
    block: U64
    sold_s: U64


@record("marina/chain/tip/1")
@dataclass(frozen=True, slots=True)
class TipRow:
    """One gift to whoever earns from a track or release."""

    id: Bytes32
    giver: Bytes20
    token: Bytes20
    amount: Units
    transaction: Bytes32
    block: U64
    given_s: U64


def token_in(row: TokenRow | TermRow | None) -> bytes:
    """Return the address in a token's or a term's row; the chain's coin if there is none."""
    return NATIVE if row is None else row.token


def fee_of(paid: int, row: FeeRow | None) -> int:
    """Return the DAO's part of a price under the fee in a row."""
    return paid * (FEE_BPS_FIRST if row is None else row.bps) // _BPS


def _token_allowed(event: Event, _: int) -> Sequence[Change]:
    said = event.values
    row = TokenRow(said["index"], said["token"], said["allowed"], event.log.block)
    return [putting(key(TOKENS, bytes((row.index,))), row)]


def _fee_changed(event: Event, _: int) -> Sequence[Change]:
    row = FeeRow(event.values["feeBps"], event.log.block)
    at = place(event.log.block, event.log.index)
    return [putting(key(FEE), row), putting(key(FEE_HISTORY, at), row)]


def _paused(event: Event, _: int) -> Sequence[Change]:
    return [putting(key(PAUSE), PauseRow(event.values["until"], event.log.block))]


def _term_added(event: Event, _: int) -> Sequence[Change]:
    said, block = event.values, event.log.block

    def make(others: Sequence[Any]) -> TermRow:
        return TermRow(
            id=said["id"],
            term_id=said["termId"],
            price=units(said["price"]),
            period_s=said["periodSeconds"],
            token=token_in(others[0]),
            kind=said["kind"],
            is_enabled=True,
            block=block,
        )

    return [deriving(TermRow, _term_key(event), make, (key(TOKENS, bytes((said["token"],))), TokenRow))]


def _term_enabled(event: Event, _: int) -> Sequence[Change]:
    is_enabled, block = event.values["enabled"], event.log.block
    return [changing(TermRow, _term_key(event), lambda row: replace(row, is_enabled=is_enabled, block=block))]


def _term_key(event: Event) -> bytes:
    return key(TERMS, event.values["id"], event.values["termId"].to_bytes(2))


def _purchased(event: Event, time_s: int) -> Sequence[Change]:
    said, block = event.values, event.log.block
    term = (key(TERMS, said["trackId"], said["termId"].to_bytes(2)), TermRow)
    fee = (key(FEE), FeeRow)
    sale_key = key(SALES, said["trackId"], place(block, event.log.index))

    def licence(old: LicenceRow | None, others: Sequence[Any]) -> LicenceRow:
        is_live = old is not None and not old.is_revoked and time_s < old.expires_at_s
        before, started_s = (amount(old.paid), old.started_s) if old and is_live else (0, time_s)
        return LicenceRow(
            licence_id=said["licenceId"],
            id=said["trackId"],
            term_id=said["termId"],
            licensee=said["licensee"],
            started_s=started_s,
            expires_at_s=said["expiresAt"],
            token=token_in(others[0]),
            paid=units(before + said["paid"]),
            is_revoked=False,
            block=block,
        )

    def sale(others: Sequence[Any]) -> SaleRow:
        return SaleRow(
            id=said["trackId"],
            licence_id=said["licenceId"],
            payer=said["payer"],
            licensee=said["licensee"],
            term_id=said["termId"],
            periods=said["periods"],
            token=token_in(others[0]),
            paid=units(said["paid"]),
            fee=units(fee_of(said["paid"], others[1])),
            splits_hash=said["splitsHash"],
            transaction=event.log.transaction,
            block=block,
            sold_s=time_s,
        )

    return [
        making(LicenceRow, key(LICENCES, said["licenceId"]), licence, term),
        marking(key(LICENCES_OF, said["licensee"], said["licenceId"])),
        marking(key(LICENCES_FOR, said["trackId"], said["licenceId"])),
        deriving(SaleRow, sale_key, sale, term, fee),
        marking(key(PAID_BY, said["payer"], place(block, event.log.index)), sale_key),
        accrued_change(
            said["trackId"],
            said["splitsHash"],
            block,
            lambda others: (token_in(others[0]), said["paid"], fee_of(said["paid"], others[1])),
            term,
            fee,
        ),
    ]


def _revoked(event: Event, time_s: int) -> Sequence[Change]:
    block = event.log.block
    return [
        changing(
            LicenceRow,
            key(LICENCES, event.values["licenceId"]),
            lambda row: replace(row, is_revoked=True, expires_at_s=time_s, block=block),
        )
    ]


def _tipped(event: Event, time_s: int) -> Sequence[Change]:
    said, block = event.values, event.log.block
    row = TipRow(
        id=said["id"],
        giver=said["from"],
        token=said["token"],
        amount=units(said["amount"]),
        transaction=event.log.transaction,
        block=block,
        given_s=time_s,
    )
    tip_key = key(TIPS, row.id, place(block, event.log.index))
    return [
        putting(tip_key, row),
        marking(key(PAID_BY, row.giver, place(block, event.log.index)), tip_key),
    ]


HANDLERS: dict[tuple[str, str], Handler] = {
    ("MusicLicensing", "TokenAllowed"): _token_allowed,
    ("MusicLicensing", "FeeChanged"): _fee_changed,
    ("MusicLicensing", "PausedUntil"): _paused,
    ("MusicLicensing", "TermAdded"): _term_added,
    ("MusicLicensing", "TermEnabled"): _term_enabled,
    ("MusicLicensing", "LicencePurchased"): _purchased,
    ("MusicLicensing", "LicenceRevoked"): _revoked,
    ("MusicLicensing", "Tipped"): _tipped,
}
