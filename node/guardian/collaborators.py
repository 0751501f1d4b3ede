"""What a guardian's judge needs of the chain and of its owner."""

from __future__ import annotations

from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from chain.key_facts import INCLUDED, Block, KeyFacts
from marina.ids import Account, TrackId
from marina.signing import Signer


class Chain(Protocol):
    """The chain, as far as keys depend on it; ``chain.key_facts.KeyChain`` is one."""

    @property
    def chain_id(self) -> int:
        """EIP-155 id."""
        ...

    @property
    def registry(self) -> bytes:
        """Address of the TrackRegistry."""
        ...

    async def block(self, finality: int = INCLUDED, *, seen: int = 0) -> Block:
        """Return the newest agreed block that a finality policy takes; NetworkError without one."""
        ...

    async def facts(self, track_id: TrackId, account: Account, tier: int, block: Block) -> KeyFacts:
        """Return the agreed facts at a block; NetworkError without agreement."""
        ...

    async def accepts(self, account: Account, digest: bytes, signature: bytes, block: Block) -> bool:
        """Return whether a contract account takes a signature for its own."""
        ...


class Holder(Protocol):
    """Whose guardian this is; ``key`` raises VaultLockedError while the vault is locked."""

    @property
    def signer(self) -> Signer:
        """This device."""
        ...

    @property
    def account(self) -> Account:
        """Whose it is."""
        ...

    def key(self) -> X25519PrivateKey:
        """Return what shares are opened with."""
        ...

    def binding(self) -> bytes:
        """Return this device's encoded binding."""
        ...
