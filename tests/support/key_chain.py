"""A chain for guardians in memory: facts that a test sets, of blocks that it mines or takes back."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

import trio

from chain.errors import ChainUnavailableError, EndpointsDisagreeError
from chain.key_facts import Block, KeyFacts
from marina.ids import Account, TrackId

NOW_S = 1_700_000_000
NOTHING = KeyFacts(Block(0, bytes(32), NOW_S), False, False, None, 0, 0, None, 0, 0, 0)


class MemoryKeyChain:
    """Tells the facts of one track and account; everything else is not registered.

    Attributes:
        known: what it tells, by (track, account, tier).
        before: what it tells of these, up to a block.
        depth: how many blocks ``safe`` and ``finalized`` are behind, by finality policy.
        fault: ``down``, ``disagree``, ``hangs`` or empty.
        wallets: signatures that contract accounts take, by account.
        reads: how often facts were asked for.
    """

    def __init__(self, chain_id: int, registry: bytes) -> None:
        self.chain_id = chain_id
        self.registry = registry
        self.known: dict[tuple[bytes, bytes, int], KeyFacts] = {}
        self.since: dict[tuple[bytes, bytes, int], int] = {}
        self.before: dict[tuple[bytes, bytes, int], tuple[KeyFacts, int]] = {}
        self.depth = {0: 0, 1: 4, 2: 10}
        self.head = 100
        self.time_s = NOW_S
        self.fork = 0
        self.fault = ""
        self.wallets: dict[bytes, bytes] = {}
        self.reads: Counter[int] = Counter()

    def set(self, track: TrackId, account: Account, tier: int, facts: KeyFacts, *, block: int = 1) -> None:
        """Let these facts hold from a block on."""
        self.known[track, account, tier] = facts
        self.since[track, account, tier] = block

    def at(self, number: int) -> Block:
        """Return the block with a number."""
        name = hashlib.sha256(f"{self.fork} {number}".encode()).digest()
        return Block(number, name, self.time_s - (self.head - number))

    async def block(self, finality: int = 0, *, seen: int = 0) -> Block:
        """Return the newest block of a policy."""
        self._fail()
        if self.fault == "hangs":
            await trio.sleep_forever()
        return self.at(max(0, self.head - self.depth[finality]))

    async def facts(self, track_id: TrackId, account: Account, tier: int, block: Block) -> KeyFacts:
        """Return the facts at a block."""
        self._fail()
        self.reads[block.number] += 1
        key = (track_id, account, tier)
        found = self.known.get(key)
        if found is None:
            return replace(NOTHING, block=block)
        if key in self.before and block.number < self.before[key][1]:
            return replace(self.before[key][0], block=block)
        if block.number < self.since[key]:
            return replace(found, block=block, licence_id=None, from_s=0, to_s=0)
        return replace(found, block=block)

    async def accepts(self, account: Account, digest: bytes, signature: bytes, block: Block) -> bool:
        """Return whether a contract account takes a signature."""
        self._fail()
        return self.wallets.get(account) == signature

    async def hash_at(self, number: int) -> bytes:
        """Return a block's hash."""
        self._fail()
        return self.at(number).hash

    def _fail(self) -> None:
        if self.fault == "down":
            raise ChainUnavailableError("the chain does not answer")
        if self.fault == "disagree":
            raise EndpointsDisagreeError("two endpoints tell different things")
