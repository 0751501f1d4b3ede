"""What is asked of the index: rows by id and by account, page by page.

A page ends with a cursor, the key of its last row in hexadecimal digits, with which the next one goes
on; rows that are added meanwhile are neither skipped nor shown twice. Nothing here asks the chain: how
far the index is, and how often a row's block is confirmed, says ``chain.indexer.Indexer``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from chain.index import earnings, editions, governance, guardians, licensing, registry
from chain.index.rows import key
from chain.index.store import IndexStore, read_row
from marina.errors import UsageError

T = TypeVar("T")
PAGE_ROWS_MAX = 200
_ID_BYTES = 32
Payment = licensing.SaleRow | licensing.TipRow | editions.EditionSaleRow
_PAYMENTS: dict[str, type[Payment]] = {
    licensing.SALES: licensing.SaleRow,
    licensing.TIPS: licensing.TipRow,
    editions.EDITION_SALES: editions.EditionSaleRow,
}


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a list.

    Attributes:
        rows: in the order of the list.
        cursor: goes on behind the last row; None at the end of the list.
    """

    rows: tuple[T, ...]
    cursor: str | None


class ChainTables:
    """Reads of one index; every list takes the ``cursor`` of the page before, and ``limit`` up to 200.

    All of them raise UsageError for a cursor that is not of their list or a limit out of bounds,
    MalformedError for a damaged row, and StorageError when the disk fails.
    """

    def __init__(self, store: IndexStore) -> None:
        self._store = store

    async def registration(self, number: bytes) -> registry.RegistrationRow | None:
        """Return a registered track or release."""
        return await self._one(registry.RegistrationRow, key(registry.REGISTRATIONS, number))

    async def registrations_of(
        self, account: bytes, *, cursor: str | None = None, limit: int = 50
    ) -> Page[registry.RegistrationRow]:
        """Return what an account owns now, by id."""
        return await self._indexed(
            registry.RegistrationRow, registry.REGISTRATIONS, key(registry.OWNED, account), cursor, limit
        )

    async def tracks_of_release(
        self, release: bytes, *, cursor: str | None = None, limit: int = 50
    ) -> Page[registry.RegistrationRow]:
        """Return the tracks that name a release, by id; whether the release agrees its owner knows."""
        return await self._indexed(
            registry.RegistrationRow,
            registry.REGISTRATIONS,
            key(registry.TRACKS_OF_RELEASE, release),
            cursor,
            limit,
        )

    async def splits(self, number: bytes, splits_hash: bytes) -> registry.SplitsRow | None:
        """Return the list behind a splits hash, old ones too: ``settle`` needs it."""
        return await self._one(registry.SplitsRow, key(registry.SPLITS, number, splits_hash))

    async def shared_with(
        self, account: bytes, *, cursor: str | None = None, limit: int = 50
    ) -> Page[registry.RegistrationRow]:
        """Return the tracks and releases in whose splits an account is, or was once, by id."""
        return await self._indexed(
            registry.RegistrationRow,
            registry.REGISTRATIONS,
            key(registry.SHARED_WITH, account),
            cursor,
            limit,
        )

    async def keybox(self, number: bytes, tier: int) -> registry.KeyboxRow | None:
        """Return the anchored keybox of a tier."""
        return await self._one(registry.KeyboxRow, key(registry.KEYBOXES, number, bytes((tier,))))

    async def keybox_writers(
        self, number: bytes, *, cursor: str | None = None, limit: int = 50
    ) -> Page[registry.KeyboxWriterRow]:
        """Return the accounts that were named or dismissed as keybox writers of a track."""
        return await self._page(registry.KeyboxWriterRow, key(registry.KEYBOX_WRITERS, number), cursor, limit)

    async def binding_epoch(self, account: bytes) -> int:
        """Return below which epoch an account's device bindings are void."""
        row = await self._one(registry.BindingEpochRow, key(registry.BINDING_EPOCHS, account))
        return 0 if row is None else row.epoch

    async def moderation_list(self) -> registry.ModerationRow | None:
        """Return the moderation list that the DAO adopted last."""
        return await self._one(registry.ModerationRow, key(registry.MODERATION))

    async def term(self, number: bytes, term_id: int) -> licensing.TermRow | None:
        """Return one term of a track or release."""
        return await self._one(licensing.TermRow, key(licensing.TERMS, number, term_id.to_bytes(2)))

    async def terms(
        self, number: bytes, *, cursor: str | None = None, limit: int = 50
    ) -> Page[licensing.TermRow]:
        """Return the terms of a track or release in their order, disabled ones too."""
        return await self._page(licensing.TermRow, key(licensing.TERMS, number), cursor, limit)

    async def licence(self, licence_id: bytes) -> licensing.LicenceRow | None:
        """Return a licence, also one that is over."""
        return await self._one(licensing.LicenceRow, key(licensing.LICENCES, licence_id))

    async def licences_of(
        self, account: bytes, *, cursor: str | None = None, limit: int = 50
    ) -> Page[licensing.LicenceRow]:
        """Return the licences that an account has or had."""
        return await self._indexed(
            licensing.LicenceRow, licensing.LICENCES, key(licensing.LICENCES_OF, account), cursor, limit
        )

    async def licences_for(
        self, number: bytes, *, cursor: str | None = None, limit: int = 50
    ) -> Page[licensing.LicenceRow]:
        """Return the licences of a track or release, of all accounts."""
        return await self._indexed(
            licensing.LicenceRow, licensing.LICENCES, key(licensing.LICENCES_FOR, number), cursor, limit
        )

    async def sales(
        self, number: bytes, *, cursor: str | None = None, limit: int = 50
    ) -> Page[licensing.SaleRow]:
        """Return the purchases of a track's or release's licences, the newest first."""
        return await self._newest(licensing.SaleRow, key(licensing.SALES, number), cursor, limit)

    async def tips(
        self, number: bytes, *, cursor: str | None = None, limit: int = 50
    ) -> Page[licensing.TipRow]:
        """Return the tips for a track or release, the newest first."""
        return await self._newest(licensing.TipRow, key(licensing.TIPS, number), cursor, limit)

    async def payments_of(
        self, account: bytes, *, cursor: str | None = None, limit: int = 50
    ) -> Page[Payment]:
        """Return everything that an account paid: licences, editions, tips, the newest first."""
        entries, cursor = await self._entries_back(key(licensing.PAID_BY, account), cursor, limit)
        targets = [target for _, target in entries]
        found = await self._store.get_many(targets)
        rows = [
            read_row(_PAYMENTS[target.split(b"\x00", 1)[0].decode()], data)
            for target, data in zip(targets, found, strict=True)
            if data is not None
        ]
        return Page(tuple(rows), cursor)

    async def tokens(self) -> tuple[licensing.TokenRow, ...]:
        """Return the tokens that prices may be or were in, by their numbers."""
        rows = await self._store.scan(key(licensing.TOKENS))
        return tuple(read_row(licensing.TokenRow, data) for _, data in rows)

    async def fee_bps(self) -> int:
        """Return the DAO's part of what is sold, in basis points."""
        row = await self._one(licensing.FeeRow, key(licensing.FEE))
        return licensing.FEE_BPS_FIRST if row is None else row.bps

    async def fee_history(self, *, cursor: str | None = None, limit: int = 50) -> Page[licensing.FeeRow]:
        """Return every fee that was in force, the newest first."""
        return await self._newest(licensing.FeeRow, key(licensing.FEE_HISTORY), cursor, limit)

    async def paused_until_s(self) -> int:
        """Return until which Unix second nothing is sold; 0 if it never was paused."""
        row = await self._one(licensing.PauseRow, key(licensing.PAUSE))
        return 0 if row is None else row.until_s

    async def accruals(self, number: bytes) -> tuple[earnings.AccrualRow, ...]:
        """Return what came in for a track or release, by the splits that divide it."""
        rows = await self._store.scan(key(earnings.ACCRUALS, number))
        return tuple(read_row(earnings.AccrualRow, data) for _, data in rows)

    async def owed(self, account: bytes) -> tuple[earnings.OwedRow, ...]:
        """Return what an account can withdraw, by token."""
        rows = await self._store.scan(key(earnings.OWED, account))
        return tuple(read_row(earnings.OwedRow, data) for _, data in rows)

    async def credits_of(
        self, account: bytes, *, cursor: str | None = None, limit: int = 50
    ) -> Page[earnings.CreditRow]:
        """Return what an account earned or got back, the newest first."""
        return await self._newest(earnings.CreditRow, key(earnings.CREDITS, account), cursor, limit)

    async def withdrawals_of(
        self, account: bytes, *, cursor: str | None = None, limit: int = 50
    ) -> Page[earnings.WithdrawalRow]:
        """Return what an account was paid, the newest first."""
        return await self._newest(earnings.WithdrawalRow, key(earnings.WITHDRAWALS, account), cursor, limit)

    async def edition(self, number: int) -> editions.EditionRow | None:
        """Return an edition."""
        return await self._one(editions.EditionRow, key(editions.EDITIONS, number.to_bytes(_ID_BYTES)))

    async def editions_of_track(
        self, track: bytes, *, cursor: str | None = None, limit: int = 50
    ) -> Page[editions.EditionRow]:
        """Return the editions of a track or release, by number."""
        return await self._indexed(
            editions.EditionRow, editions.EDITIONS, key(editions.EDITIONS_OF_TRACK, track), cursor, limit
        )

    async def editions_held(
        self, account: bytes, *, cursor: str | None = None, limit: int = 50
    ) -> Page[editions.BalanceRow]:
        """Return how many of which editions an account holds or held; a count of zero has been given on."""
        return await self._page(editions.BalanceRow, key(editions.BALANCES, account), cursor, limit)

    async def edition_transfers(
        self, number: int, *, cursor: str | None = None, limit: int = 50
    ) -> Page[editions.TransferRow]:
        """Return how an edition moved, the newest first."""
        prefix = key(editions.TRANSFERS, number.to_bytes(_ID_BYTES))
        return await self._newest(editions.TransferRow, prefix, cursor, limit)

    async def edition_sales(
        self, number: int, *, cursor: str | None = None, limit: int = 50
    ) -> Page[editions.EditionSaleRow]:
        """Return the purchases of an edition, the newest first."""
        prefix = key(editions.EDITION_SALES, number.to_bytes(_ID_BYTES))
        return await self._newest(editions.EditionSaleRow, prefix, cursor, limit)

    async def proposal(self, number: int) -> governance.ProposalRow | None:
        """Return a proposal by the governor's number."""
        return await self._one(governance.ProposalRow, key(governance.PROPOSALS, number.to_bytes(_ID_BYTES)))

    async def proposals(self, *, cursor: str | None = None, limit: int = 50) -> Page[governance.ProposalRow]:
        """Return the proposals, the newest first."""
        entries, cursor = await self._entries_back(key(governance.PROPOSALS_AT), cursor, limit)
        keys = [key(governance.PROPOSALS, number) for _, number in entries]
        return Page(await self._existing(governance.ProposalRow, keys), cursor)

    async def votes(
        self, number: int, *, cursor: str | None = None, limit: int = 50
    ) -> Page[governance.VoteRow]:
        """Return the votes on a proposal, by voter."""
        prefix = key(governance.VOTES, number.to_bytes(_ID_BYTES))
        return await self._page(governance.VoteRow, prefix, cursor, limit)

    async def votes_by(
        self, account: bytes, *, cursor: str | None = None, limit: int = 50
    ) -> Page[governance.VoteRow]:
        """Return an account's votes."""
        prefix = key(governance.VOTES_BY, account)
        entries, cursor = await self._entries(prefix, cursor, limit)
        keys = [key(governance.VOTES, each[len(prefix) :], account) for each, _ in entries]
        return Page(await self._existing(governance.VoteRow, keys), cursor)

    async def delegation(self, account: bytes) -> governance.DelegationRow | None:
        """Return to whom an account gave its votes."""
        return await self._one(governance.DelegationRow, key(governance.DELEGATIONS, account))

    async def voting_power(self, account: bytes) -> governance.VotingPowerRow | None:
        """Return how many votes an account has as a delegate."""
        return await self._one(governance.VotingPowerRow, key(governance.VOTING_POWER, account))

    async def guardian(self, account: bytes) -> guardians.GuardianRow | None:
        """Return a guardian by its account, also one that is leaving."""
        return await self._one(guardians.GuardianRow, key(guardians.GUARDIANS, account))

    async def guardian_of_peer(self, peer_key: bytes) -> guardians.GuardianRow | None:
        """Return a guardian by its node's raw Ed25519 key."""
        account = await self._store.get(key(guardians.GUARDIANS_BY_PEER, peer_key))
        row = None if account is None else await self.guardian(account)
        # Who left and came back with another device left the entry of the old one behind.
        return row if row is not None and row.peer_key == peer_key else None

    async def all_guardians(
        self, *, cursor: str | None = None, limit: int = 50
    ) -> Page[guardians.GuardianRow]:
        """Return the guardians, by account, those that are leaving too."""
        return await self._page(guardians.GuardianRow, key(guardians.GUARDIANS), cursor, limit)

    async def _one(self, cls: type[T], row_key: bytes) -> T | None:
        data = await self._store.get(row_key)
        return None if data is None else read_row(cls, data)

    async def _existing(self, cls: type[T], keys: Sequence[bytes]) -> tuple[T, ...]:
        found = await self._store.get_many(keys)
        return tuple(read_row(cls, data) for data in found if data is not None)

    async def _page(self, cls: type[T], prefix: bytes, cursor: str | None, limit: int) -> Page[T]:
        entries, cursor = await self._entries(prefix, cursor, limit)
        return Page(tuple(read_row(cls, data) for _, data in entries), cursor)

    async def _newest(self, cls: type[T], prefix: bytes, cursor: str | None, limit: int) -> Page[T]:
        entries, cursor = await self._entries_back(prefix, cursor, limit)
        return Page(tuple(read_row(cls, data) for _, data in entries), cursor)

    async def _indexed(
        self, cls: type[T], table: str, prefix: bytes, cursor: str | None, limit: int
    ) -> Page[T]:
        """Return the rows whose keys are the ends of index entries."""
        entries, cursor = await self._entries(prefix, cursor, limit)
        keys = [key(table, each[len(prefix) :]) for each, _ in entries]
        return Page(await self._existing(cls, keys), cursor)

    async def _entries(
        self, prefix: bytes, cursor: str | None, limit: int
    ) -> tuple[list[tuple[bytes, bytes]], str | None]:
        after = _position(prefix, cursor, limit)
        found = await self._store.scan(prefix, after=after, limit=limit + 1)
        return _cut(prefix, found, limit)

    async def _entries_back(
        self, prefix: bytes, cursor: str | None, limit: int
    ) -> tuple[list[tuple[bytes, bytes]], str | None]:
        before = _position(prefix, cursor, limit)
        found = await self._store.scan_back(prefix, before=before, limit=limit + 1)
        return _cut(prefix, found, limit)


def _position(prefix: bytes, cursor: str | None, limit: int) -> bytes:
    """Return the key at a cursor, empty without one."""
    if not 1 <= limit <= PAGE_ROWS_MAX:
        raise UsageError(f"a page has 1 to {PAGE_ROWS_MAX} rows, not {limit}")
    if cursor is None:
        return b""
    try:
        end = bytes.fromhex(cursor)
    except ValueError:
        end = b""
    if not end or len(end) > 2 * _ID_BYTES or end.hex() != cursor:
        raise UsageError("this cursor is none: begin without one, and give back what the last page gave")
    return prefix + end


def _cut(
    prefix: bytes, found: list[tuple[bytes, bytes]], limit: int
) -> tuple[list[tuple[bytes, bytes]], str | None]:
    """Return a page of entries, and its cursor if there are more."""
    entries = found[:limit]
    return entries, entries[-1][0][len(prefix) :].hex() if len(found) > limit else None
