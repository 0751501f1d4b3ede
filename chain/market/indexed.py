"""What is sold, as the node's own index of the chain has it: for a chain that does not answer.

Terms never change, only whether they are sold, so a purchase made from the index asks for what the chain
said; if it is not sold any more by then, the contract refuses it and nothing is paid.
"""

from __future__ import annotations

from chain.amount import Amount, Currency
from chain.contracts import ZERO
from chain.index.licensing import TermRow
from chain.market.offers import Licence, Offer, Rights
from chain.tables import PAGE_ROWS_MAX, ChainTables
from marina.clock import Clock
from marina.errors import NotFoundError
from marina.ids import Account


class IndexedTerms:
    """Reads rights, terms and licences from the index."""

    def __init__(self, *, tables: ChainTables, coin: Currency, clock: Clock) -> None:
        self._tables = tables
        self._coin = coin
        self._clock = clock

    async def rights(self, thing: bytes) -> Rights | None:
        """Return what was registered under an id when the index was made, None for nothing."""
        row = await self._tables.registration(thing)
        if row is None:
            return None
        return Rights(
            id=thing,
            owner=Account(row.owner),
            splits_hash=row.splits_hash,
            release=row.release_id,
            is_active=row.is_active,
            is_blocked=row.is_blocked,
            version=row.version,
            content_digest=row.content_digest,
        )

    async def of(self, thing: bytes) -> tuple[Offer, ...]:
        """Return the terms of an id that are priced in the chain's coin: tokens must be asked."""
        rows: list[TermRow] = []
        cursor: str | None = None
        while True:
            page = await self._tables.terms(thing, cursor=cursor, limit=PAGE_ROWS_MAX)
            rows += page.rows
            cursor = page.cursor
            if cursor is None:
                break
        return tuple(
            Offer(
                id=thing,
                term=row.term_id,
                price=Amount(int.from_bytes(row.price), self._coin),
                period_s=row.period_s,
                kind=row.kind,
                is_sold=row.is_enabled,
            )
            for row in rows
            if row.token == ZERO
        )

    async def licence(self, licence: bytes) -> Licence:
        """Return a licence; NotFoundError if there never was one, or it was paid back."""
        row = await self._tables.licence(licence)
        if row is None or row.is_revoked:
            raise NotFoundError("there is no such licence: see 'marina licence list'")
        return Licence(
            licence=licence,
            id=row.id,
            licensee=Account(row.licensee),
            term=row.term_id,
            started_s=row.started_s,
            expires_s=row.expires_at_s,
        )

    async def time_s(self) -> int:
        """Return this machine's time: no block tells a better one."""
        return self._clock.now_s()
