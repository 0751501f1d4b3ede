"""What guardians did wrong: kept durably, so that they are named and, where they signed it, can be shown.

A signed answer with the request and its one-time private key proves to anybody that the guardian's answer
was bad; what was not signed only tells this owner whom to avoid. Both say what was played, so they lie
in the private scope of the keys. Source: design, security §1.6 and §1.7 "Buyer checks".
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Annotated

from marina.clock import Clock
from marina.errors import MalformedError, MarinaError
from marina.ids import TrackId
from marina.schema import U8, U64, Bytes32, Size, decode_record, encode_record, record
from node.keys.fraud import KeyFraud
from storage.keyring import Scope
from storage.private import PrivateStore

log = logging.getLogger("marina.node.keys")
FAULTS_MAX = 64
_MESSAGE_BYTES_MAX = 17 * 1024
_ANSWER_BYTES_MAX = 16 * 1024
_RECORD_BYTES_MAX = 40 * 1024
_PREFIX = b"fault\x00"
_LISTS = {True: b"faults-signed", False: b"faults"}
"""Lists of their own: what anybody can cause must not push out what proves something."""
_FRAUDS, _FRAUD_PREFIX = b"frauds", b"fraud\x00"


@record("marina/guardian-fault/1")
@dataclass(frozen=True, slots=True)
class GuardianFault:
    """One thing that a guardian or delegate did wrong.

    Attributes:
        holder: its Ed25519 key.
        track_id: whose key was asked for.
        tier: of it.
        why: one sentence.
        is_signed: whether the answer carries the holder's signature, so that it proves the fault.
        request: the message that was sent, the keybox in it.
        answer: the message that came back.
        eph_key: the one-time X25519 private key of the request; it opens this one answer only.
        seen_s: Unix seconds.
    """

    holder: Bytes32
    track_id: Bytes32
    tier: U8
    why: Annotated[str, Size(1, 300)]
    is_signed: bool
    request: Annotated[bytes, Size(1, _MESSAGE_BYTES_MAX)]
    answer: Annotated[bytes, Size(0, _ANSWER_BYTES_MAX)]
    eph_key: Bytes32
    seen_s: U64


@record("marina/guardian-faults/1")
@dataclass(frozen=True, slots=True)
class _Names:
    names: Annotated[tuple[Bytes32, ...], Size(0, FAULTS_MAX)]


class Evidence:
    """The last faults of guardians, at most 64 that prove it and 64 others, and false keyboxes of artists."""

    def __init__(self, *, private: PrivateStore, clock: Clock) -> None:
        self._private = private
        self._clock = clock

    async def keep(
        self,
        holder: bytes,
        track_id: TrackId,
        tier: int,
        why: str,
        *,
        request: bytes,
        answer: bytes,
        eph_key: bytes,
        is_signed: bool,
    ) -> None:
        """Write a fault down; the oldest of its kind gives way. What the disk refuses is only logged."""
        fault = GuardianFault(
            holder, track_id, tier, why[:300], is_signed, request, answer[:_ANSWER_BYTES_MAX], eph_key,
            self._clock.now_s(),
        )  # fmt: skip
        name = hashlib.sha256(holder + track_id + bytes((tier, is_signed)) + why.encode()).digest()
        await self._keep(_LISTS[is_signed], _PREFIX, name, encode_record(fault))

    async def keep_fraud(self, proof: KeyFraud) -> None:
        """Write down that a keybox is false; as ``keep``."""
        await self._keep(_FRAUDS, _FRAUD_PREFIX, proof.digest, encode_record(proof))

    async def all(self) -> list[GuardianFault]:
        """Return the faults, the newest first; VaultLockedError while the vault is locked."""
        kept = [each for names in _LISTS.values() for each in await self._kept(names, _PREFIX)]
        found = [decode_record(GuardianFault, each, limit_bytes=_RECORD_BYTES_MAX) for each in kept]
        return sorted(found, key=lambda each: -each.seen_s)

    async def frauds(self) -> list[KeyFraud]:
        """Return the proofs that keyboxes are false, the newest first; VaultLockedError as for ``all``."""
        kept = await self._kept(_FRAUDS, _FRAUD_PREFIX)
        return [decode_record(KeyFraud, each, limit_bytes=_RECORD_BYTES_MAX) for each in kept]

    async def _keep(self, names: bytes, prefix: bytes, name: bytes, data: bytes) -> None:
        try:
            listed = [each for each in await self._names(names) if each != name]
            listed.append(name)
            for gone in listed[:-FAULTS_MAX]:
                await self._private.delete(Scope.CONTENT_KEYS, prefix + gone)
            await self._private.put(Scope.CONTENT_KEYS, prefix + name, data)
            await self._private.put(
                Scope.CONTENT_KEYS, names, encode_record(_Names(tuple(listed[-FAULTS_MAX:])))
            )
        except MarinaError as err:
            log.warning("evidence against a guardian or artist could not be kept: %s", err)

    async def _kept(self, names: bytes, prefix: bytes) -> list[bytes]:
        found = [
            await self._private.get(Scope.CONTENT_KEYS, prefix + name)
            for name in reversed(await self._names(names))
        ]
        return [each for each in found if each is not None]

    async def _names(self, names: bytes) -> tuple[bytes, ...]:
        data = await self._private.get(Scope.CONTENT_KEYS, names)
        try:
            return () if data is None else decode_record(_Names, data).names
        except MalformedError as err:
            log.warning("a list of evidence is begun anew: %s", err)
            return ()
