"""One file becomes one track: examined and encoded in the sandbox, sealed, described, stored."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from marina.cid import DAG_CBOR, Cid, cid_of
from marina.ids import Account, ReleaseId, derive_track_id
from marina.secret import Secret
from storage.audio.files import open_audio
from storage.audio.policy import RenditionPlan, plan_renditions
from storage.audio.records import Analysis, AudioInfo
from storage.audio.sandbox import AudioSandbox
from storage.audio.tags import Tags
from storage.blocks.protocol import BlockStore
from storage.content.track import ProviderHint, Rendition, TrackManifest, encode_track
from storage.pins import Pins
from storage.publish.covers import Covers
from storage.publish.renditions import Encoded, KeyboxMaker, RenditionSealer, TrackKeys
from storage.publish.source import Source
from storage.retention import Retention

Hold = Callable[[Cid], object]
"""Keeps a root from eviction from before it is stored until the whole track is pinned."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What the sandbox said of one source."""

    info: AudioInfo
    tags: Tags
    analysis: Analysis


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """What a track takes from its release.

    Attributes:
        covers: pictures of its folders, for a track without one; None where there is no folder.
        artwork: the picture, here already, for a track that has none by all this.
        keybox_of: says who can open each tier; None for everybody.
    """

    account: Account
    release_id: ReleaseId
    artist: str
    album: str
    terms: str
    tags: tuple[str, ...]
    hints: tuple[ProviderHint, ...]
    covers: Covers | None = None
    artwork: Cid | None = None
    keybox_of: KeyboxMaker | None = None


class TrackMaker:
    """Makes and stores track manifests with everything they link."""

    def __init__(
        self,
        *,
        audio: AudioSandbox,
        blocks: BlockStore,
        pins: Pins,
        sealer: RenditionSealer,
        staging: Path,
    ) -> None:
        self._audio = audio
        self._blocks = blocks
        self._pins = pins
        self._sealer = sealer
        self._staging = staging

    async def examine(self, source: Source) -> Examined:
        """Return format, tags, waveform and loudness; AudioError if it is no sound audio."""
        with open_audio(source.path) as fd:
            info = await self._audio.probe(fd)
            return Examined(info, await self._audio.tags(fd), await self._audio.analyse(fd))

    async def tags(self, source: Source) -> Tags:
        """Return a source's tags."""
        with open_audio(source.path) as fd:
            return await self._audio.tags(fd)

    def covers(self, folder: Path) -> Covers:
        """Return the pictures of a folder that is published."""
        return Covers(self._audio, folder)

    async def artwork(self, source: Source, covers: Covers | None) -> bytes | None:
        """Return the picture of a track made from this source: its own, else that of its folder."""
        with open_audio(source.path) as fd:
            jpeg = await self._audio.artwork(fd)
        return await covers.of(source) if jpeg is None and covers is not None else jpeg

    @asynccontextmanager
    async def encoded_again(self, source: Source, *, tier: int, duration_ms: int) -> AsyncIterator[int]:
        """Yield a descriptor of the bytes that were sealed for a tier when the track was made.

        Equal unless the encoder of this machine was replaced since; who uses them compares digests.

        Args:
            source: the artist's file.
            tier: which rendition.
            duration_ms: as the track's manifest says.

        Raises:
            AudioError: about the file.
        """
        with open_audio(source.path) as fd:
            info = await self._audio.probe(fd)
            plans = plan_renditions(info, duration_ms=duration_ms)
            plan = next(each for each in plans if each.tier == tier)
            if plan.is_source:
                yield fd
                return
            async with self._encoded(plan, fd, duration_ms) as encoded:
                yield encoded.fd

    async def make(
        self,
        source: Source,
        *,
        salt: bytes,
        number: int,
        facts: ReleaseFacts,
        content_root: Secret[bytes],
        version: int = 1,
        previous: Cid | None = None,
    ) -> tuple[Cid, TrackManifest]:
        """Encrypt and store every rendition of a source; durable and pinned when this returns.

        Until all of it is stored, leases keep its parts from being evicted for the ones that follow;
        when it fails, nothing holds them any more.

        Raises:
            AudioError: about the file.
            QuotaExceededError, DiskFullError: about the room.
        """
        examined = await self.examine(source)
        track_id = derive_track_id(facts.account, salt)
        keys = TrackKeys(track_id, salt, content_root)
        with open_audio(source.path) as fd, ExitStack() as leases:
            held: list[Cid] = []

            def hold(cid: Cid) -> None:
                leases.enter_context(self._pins.lease(cid))
                held.append(cid)

            jpeg = await self.artwork(source, facts.covers)
            artwork = facts.artwork if jpeg is None else await self._store_artwork(jpeg, hold)
            plans = plan_renditions(examined.info, duration_ms=examined.analysis.duration_ms)
            seal = _Seal(keys, hold, facts.keybox_of)
            renditions = [await self._rendition(plan, fd, examined, seal) for plan in plans]
            track = _describe(
                source, examined, facts, salt, number, tuple(renditions), artwork, version, previous
            )
            block = encode_track(track)
            cid = cid_of(block, DAG_CBOR)
            hold(cid)
            await self._blocks.put(cid, block)
            await self._pins.pin(held, Retention.OWN)
        return cid, track

    async def _rendition(self, plan: RenditionPlan, fd: int, examined: Examined, seal: _Seal) -> Rendition:
        if plan.is_source:
            info, duration_ms = examined.info, examined.analysis.duration_ms
            encoded = Encoded(
                fd, os.fstat(fd).st_size, plan.codec, plan.mime, info.bitrate_bps, info.sample_rate_hz,
                info.channels, duration_ms,
            )  # fmt: skip
            return await self._sealer.seal(encoded, seal.keys, plan.tier, seal.hold, seal.keybox_of)
        async with self._encoded(plan, fd, examined.analysis.duration_ms) as encoded:
            return await self._sealer.seal(encoded, seal.keys, plan.tier, seal.hold, seal.keybox_of)

    @asynccontextmanager
    async def _encoded(self, plan: RenditionPlan, fd: int, duration_ms: int) -> AsyncIterator[Encoded]:
        """Encode into a file without a name, which vanishes with its descriptor, crash or not."""
        with tempfile.TemporaryFile(dir=self._staging, buffering=0) as out:

            async def write(data: bytes) -> None:
                await trio.to_thread.run_sync(out.write, data)

            if plan.length_ms:
                done = await self._audio.encode_preview(
                    fd, write, duration_ms=duration_ms, bitrate_bps=plan.bitrate_bps
                )
            else:
                done = await self._audio.encode_opus(fd, write, bitrate_bps=plan.bitrate_bps)
            yield Encoded(
                out.fileno(), done.size_bytes, done.codec, done.mime, done.bitrate_bps, done.sample_rate_hz,
                done.channels, done.duration_ms,
            )  # fmt: skip

    async def _store_artwork(self, jpeg: bytes, hold: Hold) -> Cid:
        cid = cid_of(jpeg)
        hold(cid)
        await self._blocks.put(cid, jpeg)
        return cid


@dataclass(frozen=True, slots=True)
class _Seal:
    """What every rendition of one track is sealed with."""

    keys: TrackKeys
    hold: Hold
    keybox_of: KeyboxMaker | None


def _describe(
    source: Source,
    examined: Examined,
    facts: ReleaseFacts,
    salt: bytes,
    number: int,
    renditions: tuple[Rendition, ...],
    artwork: Cid | None,
    version: int,
    previous: Cid | None,
) -> TrackManifest:
    tags = examined.tags
    return TrackManifest(
        account=facts.account,
        salt=salt,
        release_id=facts.release_id,
        title=tags.title or source.path.stem.replace("_", " ").strip() or "Untitled",
        artist=tags.artist or facts.artist,
        album=tags.album or facts.album,
        album_artist=tags.album_artist or facts.artist,
        track_no=tags.track_no or number,
        disc_no=tags.disc_no,
        year=tags.year,
        genres=tags.genres,
        tags=facts.tags,
        isrc=tags.isrc,
        duration_ms=examined.analysis.duration_ms,
        loudness_mlufs=examined.analysis.loudness_mlufs,
        waveform=examined.analysis.waveform,
        artwork=artwork,
        renditions=renditions,
        terms=facts.terms,
        version=version,
        previous=previous,
        hints=facts.hints,
    )
