"""Which event means what: all handlers in one table, and the indexer that is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from chain.contracts import ContractSet
from chain.events import Event, EventDecoder
from chain.index import earnings, editions, governance, guardians, licensing, registry
from chain.index.rows import Handler
from chain.index.source import Rpc
from chain.index.store import Change, IndexStore
from chain.indexer import Indexer, IndexerConfig
from storage.kv import KeyValueStore

HANDLERS: dict[tuple[str, str], Handler] = {
    **registry.HANDLERS,
    **licensing.HANDLERS,
    **earnings.HANDLERS,
    **editions.HANDLERS,
    **governance.HANDLERS,
    **guardians.HANDLERS,
}
"""By (contract, event)."""


def changes_of(event: Event, time_s: int) -> Sequence[Change]:
    """Return what an event changes; nothing for one without a handler.

    Args:
        event: decoded.
        time_s: Unix time of its block.
    """
    handler = HANDLERS.get((event.contract, event.name))
    return () if handler is None else handler(event, time_s)


def open_index(kv: KeyValueStore, *, chain_id: int, contracts: ContractSet) -> IndexStore:
    """Return where the index of a contract set is kept; another chain or deployment has another place."""
    return IndexStore(kv, name=f"chain/{chain_id}/{contracts.licensing.hex()}")


def make_indexer(
    rpc: Rpc, contracts: ContractSet, store: IndexStore, *, rng: Random, config: IndexerConfig | None = None
) -> Indexer:
    """Return the indexer of a contract set, which does nothing before it runs.

    Args:
        rpc: the chain's endpoints.
        contracts: whose events it follows.
        store: of ``open_index``; nobody else writes it.
        rng: spreads retries.
        config: where to begin and how often to look.
    """
    return Indexer(
        rpc=rpc,
        store=store,
        decoder=EventDecoder(contracts.named()),
        changes_of=changes_of,
        wanted=frozenset(HANDLERS),
        rng=rng,
        config=config,
    )
