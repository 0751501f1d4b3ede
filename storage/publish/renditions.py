"""One encoding, sealed and stored: key, commitment, keybox, segments, root."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from marina.cid import Cid
from marina.ids import TrackId
from marina.secret import Secret
from storage.blocks.protocol import BlockStore
from storage.content.keybox import Keybox, public_keybox
from storage.content.keys import KeyName, derive_track_key, key_commitment
from storage.content.layout import LARGE_BYTES, SegmentPlan
from storage.content.seal import SPAN_BYTES, reseal_segments, seal_file
from storage.content.segments import SUITE_AES_256_GCM, CipherRun
from storage.content.track import Rendition
from storage.content.unixfs import rendition_file

KEY_VERSION = 0
KeyboxMaker = Callable[[KeyName, Secret[bytes], bytes], Awaitable[Keybox]]
"""Returns the keybox of a tier, given the key's name, the key and its commitment."""
_AT_ONCE = SPAN_BYTES // LARGE_BYTES
"""Segments sealed again in one go: as many as are sealed at once the first time."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Audio bytes that are ready to be sealed.

    Attributes:
        fd: descriptor of the bytes, readable at any offset.
        size_bytes: how many there are.
    """

    fd: int
    size_bytes: int
    codec: str
    mime: str
    bitrate_bps: int
    sample_rate_hz: int
    channels: int
    duration_ms: int


class RandomBytes(Protocol):
    """Source of salts: ``secrets.token_bytes``, or a seeded one in tests."""

    def __call__(self, count: int, /) -> bytes:
        """Return that many bytes."""
        ...


@dataclass(frozen=True, slots=True)
class TrackKeys:
    """What the keys of one track derive from."""

    track_id: TrackId
    salt: bytes
    content_root: Secret[bytes]


class RenditionSealer:
    """Seals encodings into a block store, one worker thread at a time each."""

    def __init__(self, *, blocks: BlockStore, random: RandomBytes, limiter: trio.CapacityLimiter) -> None:
        self._blocks = blocks
        self._random = random
        self._limiter = limiter

    async def seal(
        self,
        encoded: Encoded,
        keys: TrackKeys,
        tier: int,
        hold: Callable[[Cid], object],
        keybox_of: KeyboxMaker | None = None,
    ) -> Rendition:
        """Encrypt, hash and store an encoding; durable when this returns.

        Args:
            encoded: what to seal.
            keys: of its track.
            tier: which one it is.
            hold: told every root before it is stored, to protect it from eviction until it is pinned.
            keybox_of: says who can open it; None for everybody.

        Raises:
            QuotaExceededError, DiskFullError: nothing was kept.
            DamagedError: the file changed while it was read.
        """
        name = KeyName(keys.track_id, tier, KEY_VERSION)
        key = derive_track_key(keys.content_root, keys.salt, name)
        kc = key_commitment(key, name)
        run = CipherRun(keys.track_id, tier, KEY_VERSION, SUITE_AES_256_GCM, self._random(32))
        plan = SegmentPlan(encoded.size_bytes)
        writer = await self._blocks.stage(plan.ciphertext_bytes)
        with writer:
            digests = await trio.to_thread.run_sync(
                seal_file, encoded.fd, plan, run, key, writer, limiter=self._limiter
            )
        layout, _ = rendition_file(encoded.size_bytes, digests)
        hold(layout.root)
        await self._blocks.adopt(writer, layout)
        box = public_keybox(name, key, kc) if keybox_of is None else await keybox_of(name, key, kc)
        hold(box.cid)
        await self._blocks.put(box.cid, box.to_bytes())
        return Rendition(
            layout=layout,
            run=run,
            codec=encoded.codec,
            mime=encoded.mime,
            bitrate_bps=encoded.bitrate_bps,
            sample_rate_hz=encoded.sample_rate_hz,
            channels=encoded.channels,
            duration_ms=encoded.duration_ms,
            kc=kc,
            keybox=box.cid,
        )

    async def seal_again(self, fd: int, rendition: Rendition, keys: TrackKeys, indices: Sequence[int]) -> int:
        """Make missing segments of a rendition anew; return how many came out as they were.

        Args:
            fd: the bytes that the rendition was sealed from.
            rendition: which one, with the salt of its run.
            keys: of its track.
            indices: of the missing segments.

        Raises:
            QuotaExceededError, DiskFullError: about the room.
        """
        layout = rendition.layout
        if os.fstat(fd).st_size != layout.plaintext_bytes:
            return 0
        key = derive_track_key(keys.content_root, keys.salt, rendition.run.key_name)
        await self._blocks.declare(layout)
        made = 0
        for start in range(0, len(indices), _AT_ONCE):
            batch = indices[start : start + _AT_ONCE]
            segments = await trio.to_thread.run_sync(
                reseal_segments, fd, layout, rendition.run, key, batch, limiter=self._limiter
            )
            await self._blocks.put_segments(layout.root, segments)
            made += len(segments)
        await self._blocks.flush(layout.root)
        return made


def free_keybox(rendition: Rendition, keys: TrackKeys) -> Keybox:
    """Return the keybox of a free rendition, which follows from its track's keys."""
    key = derive_track_key(keys.content_root, keys.salt, rendition.run.key_name)
    return public_keybox(rendition.run.key_name, key, rendition.kc)
