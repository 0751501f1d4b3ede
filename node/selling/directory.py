"""Who is a guardian now, as this node's index of the chain has it."""

from __future__ import annotations

from marina.ids import Account
from node.chain.service import ChainService
from node.selling.draw import Candidate
from storage.content.guarded import KeyHolder

GUARDIANS_MAX = 4096
"""Read of the chain; a draw among so many is as good as among all."""
_PAGE = 200


class GuardianDirectory:
    """Reads the index."""

    def __init__(self, *, chain: ChainService) -> None:
        self._chain = chain

    async def candidates(self) -> list[Candidate]:
        """Return the guardians that neither leave nor were removed.

        Raises:
            UsageError, NotFoundError: no chain is configured, or its contracts are not known.
            NetworkError: the chain does not answer, or the index is far behind.
        """
        chain = self._chain.get()
        await chain.catch_up()
        found: list[Candidate] = []
        cursor: str | None = None
        while len(found) < GUARDIANS_MAX:
            page = await chain.tables.all_guardians(cursor=cursor, limit=_PAGE)
            found += [
                Candidate(
                    Account(row.account), KeyHolder(row.peer_key, row.hpke_key), int.from_bytes(row.bond)
                )
                for row in page.rows
                if not row.unlocks_s and not row.is_removed
            ]
            cursor = page.cursor
            if cursor is None:
                break
        return found
