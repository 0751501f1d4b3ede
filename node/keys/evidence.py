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
from storage.keyring import Scope
from storage.private import PrivateStore

log = logging.getLogger("marina.node.keys")
FAULTS_MAX = 64
_MESSAGE_BYTES_MAX = 17 * 1024
_ANSWER_BYTES_MAX = 16 * 1024
_RECORD_BYTES_MAX = 40 * 1024
_LIST = b"faults"
_PREFIX = b"fault\x00"


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
    """The last faults of guardians, at most 64."""

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
        """Write a fault down; the oldest gives way. What the disk refuses is only logged."""
        fault = GuardianFault(
            holder, track_id, tier, why[:300], is_signed, request, answer[:_ANSWER_BYTES_MAX], eph_key,
            self._clock.now_s(),
        )  # fmt: skip
        data = encode_record(fault)
        name = hashlib.sha256(holder + track_id + bytes((tier, is_signed)) + why.encode()).digest()
        try:
            names = [each for each in await self._names() if each != name]
            names.append(name)
            for gone in names[:-FAULTS_MAX]:
                await self._private.delete(Scope.CONTENT_KEYS, _PREFIX + gone)
            await self._private.put(Scope.CONTENT_KEYS, _PREFIX + name, data)
            listed = encode_record(_Names(tuple(names[-FAULTS_MAX:])))
            await self._private.put(Scope.CONTENT_KEYS, _LIST, listed)
        except MarinaError as err:
            log.warning("a guardian's fault could not be kept: %s", err)

    async def all(self) -> list[GuardianFault]:
        """Return the faults, the newest first; VaultLockedError while the vault is locked."""
        found: list[GuardianFault] = []
        for name in reversed(await self._names()):
            data = await self._private.get(Scope.CONTENT_KEYS, _PREFIX + name)
            if data is not None:
                found.append(decode_record(GuardianFault, data, limit_bytes=_RECORD_BYTES_MAX))
        return found

    async def _names(self) -> tuple[bytes, ...]:
        data = await self._private.get(Scope.CONTENT_KEYS, _LIST)
        try:
            return () if data is None else decode_record(_Names, data).names
        except MalformedError as err:
            log.warning("the list of guardians' faults is begun anew: %s", err)
            return ()
