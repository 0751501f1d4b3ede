"""Content keys of paid music that were released to this owner, sealed in a private scope of their own.

A key is used while its lease runs: until the licence ends, and for at most 30 days without a look at the
chain. Shredding the scope forgets all of them; guardians release them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from marina.errors import DamagedError, MalformedError
from marina.ids import TrackId
from marina.schema import U8, U32, U64, Bytes20, Bytes32, Size, decode_record, encode_record, record
from marina.secret import Secret
from storage.content.keys import KeyName
from storage.keyring import Scope
from storage.private import PrivateStore

LEASE_S_MAX = 30 * 86_400
HOLDERS_MAX = 35
KEYS_MAX = 20_000
_PREFIX = b"key\x00"
_PAGE = 500


@record("marina/released-key/1")
@dataclass(frozen=True, slots=True)
class _Row:
    track_id: Bytes32
    tier: U8
    key_version: U32
    kc: Bytes32
    key: Bytes32
    chain_id: U64
    epoch: U32
    account: Bytes20
    licence: Bytes32
    expires: U64
    lease_until: U64
    released: U64
    block: U64
    holders: Annotated[tuple[Bytes32, ...], Size(0, HOLDERS_MAX)]


@dataclass(frozen=True, slots=True)
class ReleasedKey:
    """A key and how it came here.

    Attributes:
        name: whose key.
        kc: its commitment.
        key: 32 bytes.
        chain_id: of the chain with the licence.
        epoch: of the keybox it came out of.
        account: whose licence.
        licence: id of the licence that opens the tier.
        expires_s: first Unix second at which the licence is over.
        lease_until_s: until when it is used without a look at the chain.
        released_s: when it was released, Unix seconds.
        block: the newest block that a guardian read for it.
        holders: Ed25519 keys of the guardians, or of the delegate, that released it.
    """

    name: KeyName
    kc: bytes
    key: Secret[bytes]
    chain_id: int
    epoch: int
    account: bytes
    licence: bytes
    expires_s: int
    lease_until_s: int
    released_s: int
    block: int
    holders: tuple[bytes, ...]


class KeyCache:
    """Keys by track, tier and commitment. Every method raises VaultLockedError while the vault is locked."""

    def __init__(self, *, private: PrivateStore) -> None:
        self._private = private

    async def get(self, name: KeyName, kc: bytes) -> ReleasedKey | None:
        """Return the key of a tier that fits a commitment, None if it was never released here."""
        data = await self._private.get(Scope.CONTENT_KEYS, _place(name, kc))
        return None if data is None else _read(data)

    async def put(self, found: ReleasedKey) -> None:
        """Store a key durably."""
        row = _Row(
            track_id=found.name.track_id,
            tier=found.name.tier,
            key_version=found.name.key_version,
            kc=found.kc,
            key=found.key.reveal(),
            chain_id=found.chain_id,
            epoch=found.epoch,
            account=found.account,
            licence=found.licence,
            expires=found.expires_s,
            lease_until=found.lease_until_s,
            released=found.released_s,
            block=found.block,
            holders=found.holders[:HOLDERS_MAX],
        )
        await self._private.put(Scope.CONTENT_KEYS, _place(found.name, found.kc), encode_record(row))

    async def forget(self, name: KeyName, kc: bytes) -> None:
        """Use a key no longer, as when its licence was paid back."""
        await self._private.delete(Scope.CONTENT_KEYS, _place(name, kc))

    async def prune(self, time_s: int) -> int:
        """Forget keys whose licence ended more than 30 days ago; return how many."""
        gone = 0
        after = b""
        for _ in range(KEYS_MAX // _PAGE):
            page = await self._private.items(Scope.CONTENT_KEYS, after=after, limit=_PAGE)
            for place, data in page:
                if place.startswith(_PREFIX) and _read(data).expires_s + LEASE_S_MAX < time_s:
                    await self._private.delete(Scope.CONTENT_KEYS, place)
                    gone += 1
            if len(page) < _PAGE:
                break
            after = page[-1][0]
        return gone


def lease_until_s(expires_s: int, now_s: int) -> int:
    """Return until when a key may be used without a look at the chain."""
    return min(expires_s, now_s + LEASE_S_MAX)


def _place(name: KeyName, kc: bytes) -> bytes:
    return _PREFIX + name.track_id + bytes((name.tier,)) + name.key_version.to_bytes(4) + kc


def _read(data: bytes) -> ReleasedKey:
    try:
        row = decode_record(_Row, data)
    except MalformedError as err:
        raise DamagedError("a stored key is damaged: 'marina play' asks for it again") from err
    return ReleasedKey(
        name=KeyName(TrackId(row.track_id), row.tier, row.key_version),
        kc=row.kc,
        key=Secret(row.key),
        chain_id=row.chain_id,
        epoch=row.epoch,
        account=row.account,
        licence=row.licence,
        expires_s=row.expires,
        lease_until_s=row.lease_until,
        released_s=row.released,
        block=row.block,
        holders=row.holders,
    )
