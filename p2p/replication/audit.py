"""Audits: an operator has a complete copy if it says so of every rendition and proves random segments.

Everyday audits download random whole segments: no special code at the operator, indistinguishable from
use, and the bytes are checked against the manifest's digests. Thirty segments find a loss of 10 % with
95.8 %. Not proven is that the operator stores the copy itself. Source: design, security §6.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

import trio

from marina.cid import Cid
from marina.errors import MalformedError
from marina.ids import PeerId
from p2p.chunk.client import ChunkClient, Want
from p2p.errors import P2PError, PeerMisbehavedError
from p2p.wire.chunk import Status

SEGMENTS_PER_AUDIT = 30


@dataclass(frozen=True, slots=True)
class AuditedRoot:
    """One rendition of the release.

    Attributes:
        root: its CID.
        digests: sha2-256 of each segment, in order.
        lengths: bytes of each segment.
    """

    root: Cid
    digests: tuple[bytes, ...]
    lengths: tuple[int, ...]


class SegmentProbe(Protocol):
    """Asks one operator for what an audit needs."""

    async def have(self, peer: PeerId, root: Cid) -> frozenset[int]:
        """Return the segments that the peer says it has; P2PError when it does not answer."""
        ...

    async def segment(self, peer: PeerId, root: Cid, index: int, length: int) -> bytes | bytearray | None:
        """Return a segment's unverified bytes, None when it does not deliver; P2PError likewise."""
        ...


class ChunkProbe:
    """Probes over /marina/chunk/1.0.0; the peer is connected."""

    def __init__(self, client: ChunkClient) -> None:
        self._client = client

    async def have(self, peer: PeerId, root: Cid) -> frozenset[int]:
        """Return the segments that the peer says it has."""
        return await self._client.have(peer, root)

    async def segment(self, peer: PeerId, root: Cid, index: int, length: int) -> bytes | bytearray | None:
        """Return one segment as delivered."""
        async with self._client.fetch(peer, root, [Want(index, length)]) as deliveries:
            async for delivery in deliveries:
                return delivery.data if delivery.status is Status.OK else None
        return None


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The outcome of one audit.

    Attributes:
        passed: whether the copy counts.
        segments: segments that were checked.
        reason: why it did not pass, for people.
        is_lie: it delivered wrong bytes, or had claimed what it does not deliver.
    """

    passed: bool
    segments: int
    reason: str = ""
    is_lie: bool = False


class Auditor:
    """Audits copies of releases."""

    def __init__(self, *, probe: SegmentProbe, rng: Random, segments: int = SEGMENTS_PER_AUDIT) -> None:
        self._probe = probe
        self._rng = rng
        self._segments = segments

    async def audit(
        self, peer: PeerId, roots: Sequence[AuditedRoot], *, timeout_s: float = 60.0
    ) -> AuditResult:
        """Return whether a peer's copy of all renditions is complete, as far as samples tell."""
        with trio.move_on_after(timeout_s):
            try:
                return await self._audit(peer, roots)
            except PeerMisbehavedError as err:
                return AuditResult(False, 0, str(err), is_lie=True)
            except (P2PError, MalformedError) as err:
                return AuditResult(False, 0, str(err))
        return AuditResult(False, 0, f"it did not deliver the samples within {timeout_s:g} s")

    async def _audit(self, peer: PeerId, roots: Sequence[AuditedRoot]) -> AuditResult:
        for each in roots:
            missing = len(each.digests) - len(await self._probe.have(peer, each.root) & _all(each))
            if missing:
                return AuditResult(False, 0, f"it lacks {missing} of {len(each.digests)} segments")
        samples = pick(roots, self._segments, self._rng)
        for each, index in samples:
            data = await self._probe.segment(peer, each.root, index, each.lengths[index])
            if data is None:
                reason = f"it claims segment {index} and does not deliver it"
                return AuditResult(False, len(samples), reason, is_lie=True)
            if hashlib.sha256(data).digest() != each.digests[index]:
                return AuditResult(False, len(samples), f"segment {index} has the wrong bytes", is_lie=True)
        return AuditResult(True, len(samples))


def pick(roots: Sequence[AuditedRoot], count: int, rng: Random) -> list[tuple[AuditedRoot, int]]:
    """Return up to ``count`` different random segments over all renditions, each equally likely."""
    total = sum(len(each.digests) for each in roots)
    chosen = sorted(rng.sample(range(total), min(count, total)))
    found: list[tuple[AuditedRoot, int]] = []
    start = 0
    for each in roots:
        end = start + len(each.digests)
        found.extend((each, number - start) for number in chosen if start <= number < end)
        start = end
    return found


def _all(root: AuditedRoot) -> frozenset[int]:
    return frozenset(range(len(root.digests)))
