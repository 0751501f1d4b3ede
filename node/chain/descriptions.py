"""The texts of proposals, from the node's own index of the chain."""

from __future__ import annotations

from chain.tables import ChainTables


class IndexedDescriptions:
    """Looks descriptions up in the index."""

    def __init__(self, tables: ChainTables) -> None:
        self._tables = tables

    async def description(self, proposal_id: int) -> str | None:
        """Return the raw text of a proposal, None if the index does not have it."""
        row = await self._tables.proposal(proposal_id)
        return None if row is None else row.description
