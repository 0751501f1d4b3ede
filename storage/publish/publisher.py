"""Publishing: scan, identify, make each track, sign the release. Resumable and idempotent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from marina.cid import DAG_CBOR, Cid, check_cid, cid_of
from marina.clock import Clock
from marina.errors import MarinaError, NotFoundError, NotPermittedError, UsageError
from marina.ids import Account, ReleaseId, TrackId, derive_release_id
from marina.secret import Secret
from storage.audio.errors import AudioError
from storage.audio.tags import Tags
from storage.blocks.protocol import BlockStore
from storage.content.release import AccountSigner, Release, SignedRelease, open_release, sign_release
from storage.content.track import TrackManifest, decode_track, encode_track
from storage.pins import Pins
from storage.publish.journal import Journal, finished
from storage.publish.keyboxes import Keyboxes
from storage.publish.mending import Mender, Originals, sound
from storage.publish.models import Mended, Preview, Published, Publishing, PublishRequest, Report, Skipped
from storage.publish.paid import PaidTerms
from storage.publish.renditions import RandomBytes
from storage.publish.scanning import find_sources, reading
from storage.publish.source import Source, identify
from storage.publish.texts import names_of
from storage.publish.tracks import Examined, ReleaseFacts, TrackMaker
from storage.retention import Retention

_Tracks = Sequence[tuple[Cid, TrackManifest]]


class Publisher:
    """Publishes releases of this node's owner, free or sold."""

    def __init__(
        self,
        *,
        owner: Publishing,
        maker: TrackMaker,
        mender: Mender,
        blocks: BlockStore,
        pins: Pins,
        journal: Journal,
        keyboxes: Keyboxes,
        clock: Clock,
        random: RandomBytes,
        tracks_at_once: int = 1,
    ) -> None:
        self._owner = owner
        self._maker = maker
        self._mender = mender
        self._blocks = blocks
        self._pins = pins
        self._journal = journal
        self._keyboxes = keyboxes
        self._clock = clock
        self._random = random
        self._tracks_at_once = tracks_at_once
        self._lock = trio.Lock()

    async def preview(self, request: PublishRequest, report: Report) -> Preview:
        """Examine everything and write nothing."""
        sources, skipped = await find_sources(request.path)
        examined: list[tuple[Source, Examined]] = []
        for number, source in enumerate(sources):
            await report(number, len(sources), source.path.name)
            try:
                examined.append((source, await self._maker.examine(source)))
            except AudioError as err:
                skipped.append(Skipped(source.path, str(err)))
        title, artist = names_of(request, [each.tags for _, each in examined])
        return Preview(title, artist, tuple(examined), tuple(skipped))

    async def publish(self, request: PublishRequest, report: Report) -> Published:
        """Publish a folder or file; a run that was interrupted goes on where it stopped.

        Raises:
            VaultLockedError: the words' keys are needed.
            UsageError, NotFoundError, NotPermittedError: nothing there can be published.
            QuotaExceededError, DiskFullError: what is finished stays for the next run.
        """
        signer, content_root = self._owner.account_signer(), self._owner.content_root()
        async with self._lock:
            sources, skipped = await find_sources(request.path)
            key = Journal.release_key(sources, request.words)
            entry = await self._journal.begin_release(key, self._random(32))
            if await self._journal.is_withdrawn(derive_release_id(signer.account, entry.salt)):
                await self._journal.forget_release(key)
                await self._keyboxes.forget(key)
                entry = await self._journal.begin_release(key, self._random(32))
            release_id = derive_release_id(signer.account, entry.salt)
            done = finished(entry)
            if done is not None and (old := await self._mended(done, release_id)) is not None:
                originals = Originals(key, sources, self._maker.covers(request.path))
                mended = await self._mender.mend_tracks(originals, old.tracks, content_root, report)
                return replace(old, skipped=tuple(skipped), is_unchanged=True, mended=old.mended + mended)
            title, artist = await self._names(request, sources)
            facts = ReleaseFacts(
                account=signer.account,
                release_id=release_id,
                artist=artist,
                album=title,
                terms=request.terms,
                tags=request.tags,
                hints=request.hints,
                covers=(covers := self._maker.covers(request.path)),
                keybox_of=await self._keyboxes.of_release(key, request.paid),
            )
            tracks = await self._tracks(key, sources, facts, content_root, skipped, report)
            skipped += [Skipped(path, reason) for path, reason in covers.refused.items()]
            release = Release(
                account=signer.account,
                salt=entry.salt,
                title=title,
                artist=artist,
                terms=request.terms,
                tracks=tuple(cid for cid, _ in tracks),
                artwork=next((track.artwork for _, track in tracks if track.artwork), None),
                version=1,
                published_s=self._clock.now_s(),
                hints=request.hints,
            )
            signed = await self._sign(release, tracks, signer)
            await self._journal.end_release(key, entry, signed.cid)
            return Published(signed, tuple(tracks), tuple(skipped))

    async def update(
        self,
        current: SignedRelease,
        *,
        title: str | None = None,
        artist: str | None = None,
        terms: str | None = None,
        replace_track: tuple[int, Path] | None = None,
    ) -> Published:
        """Sign a successor; a replaced file keeps its track's id.

        Raises:
            NotPermittedError: the release is another account's, or withdrawn.
            NotFoundError: it has no such track.
            AudioError: the new file cannot be used.
        """
        signer, content_root = self._owner.account_signer(), self._owner.content_root()
        _check_mine(current.release, signer.account)
        async with self._lock:
            tracks = list(await self._tracks_of(current.release))
            if replace_track is not None:
                number, path = replace_track
                if not 1 <= number <= len(tracks):
                    raise NotFoundError(f"the release has tracks 1 to {len(tracks)}, not {number}")
                tracks[number - 1] = await self._remade(
                    current, tracks[number - 1], number, path, content_root
                )
            if terms is not None:
                tracks = [await self._successor(track, terms=terms) for _, track in tracks]
            release = replace(
                current.release,
                title=title or current.release.title,
                artist=artist or current.release.artist,
                terms=terms or current.release.terms,
                tracks=tuple(cid for cid, _ in tracks),
                version=current.release.version + 1,
                previous=current.cid,
                published_s=self._clock.now_s(),
            )
            before = await self._tracks_of(current.release)
            signed = await self._sign(release, tracks, signer)
            return Published(signed, tuple(tracks), retired=await self._retire(before, tracks))

    async def reissue(
        self, current: SignedRelease, terms: PaidTerms, epochs: Mapping[tuple[TrackId, int], int]
    ) -> Published:
        """Sign a successor whose keys are split anew: the same keys, other shares, a later epoch.

        Args:
            current: the release.
            terms: who keeps its keys from now on.
            epochs: by track and tier, the epoch that is anchored on the chain; what is missing has none.

        Raises:
            NotPermittedError: as for ``update``.
            UsageError: nothing in it is sold.
            DamagedError: a keybox is missing here, or the words' keys do not open this release.
        """
        signer, content_root = self._owner.account_signer(), self._owner.content_root()
        _check_mine(current.release, signer.account)
        async with self._lock:
            before = await self._tracks_of(current.release)
            tracks = [await self._rekeyed(track, terms, epochs, content_root) for _, track in before]
            if all(new == old for (_, new), (_, old) in zip(tracks, before, strict=True)):
                raise UsageError("nothing in this release is sold: its keys are public")
            release = replace(
                current.release,
                tracks=tuple(cid for cid, _ in tracks),
                version=current.release.version + 1,
                previous=current.cid,
                published_s=self._clock.now_s(),
            )
            signed = await self._sign(release, tracks, signer)
            return Published(signed, tuple(tracks))

    async def withdraw(self, current: SignedRelease, reason: str) -> Published:
        """Sign a tombstone; errors as for ``update``."""
        signer = self._owner.account_signer()
        _check_mine(current.release, signer.account)
        async with self._lock:
            release = replace(
                current.release,
                tracks=(),
                artwork=None,
                withdrawn=True,
                reason=reason,
                version=current.release.version + 1,
                previous=current.cid,
                published_s=self._clock.now_s(),
            )
            before = await self._tracks_of(current.release)
            signed = await self._sign(release, [], signer)
            await self._journal.mark_withdrawn(release.release_id)
            return Published(signed, (), retired=await self._retire(before, []))

    async def _names(self, request: PublishRequest, sources: list[Source]) -> tuple[str, str]:
        """Return (title, artist) of the release; reads tags only if it must."""
        if request.title and request.artist:
            return request.title, request.artist
        tags: list[Tags] = []
        for source in sources:
            try:
                tags.append(await self._maker.tags(source))
            except AudioError:
                continue  # it is reported, with its reason, when its track is made
        return names_of(request, tags)

    async def _tracks(
        self,
        key: bytes,
        sources: list[Source],
        facts: ReleaseFacts,
        content_root: Secret[bytes],
        skipped: list[Skipped],
        report: Report,
    ) -> list[tuple[Cid, TrackManifest]]:
        """Make the tracks, a few at once: decoding and encoding are work for one core each."""
        made: dict[int, tuple[Cid, TrackManifest] | Skipped] = {}
        waiting = iter(enumerate(sources, 1))
        failure: Exception | None = None

        async def work() -> None:
            nonlocal failure
            try:
                for number, source in waiting:
                    await report(len(made), len(sources), source.path.name)
                    made[number] = await self._track(key, source, number, facts, content_root)
                    await report(len(made), len(sources), source.path.name)
            except Exception as err:  # noqa: BLE001 - raised again below, as itself and not in a group
                failure = failure or err
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for _ in range(min(self._tracks_at_once, len(sources))):
                nursery.start_soon(work)
        if failure is not None:
            raise failure
        results = [made[number] for number in sorted(made)]
        skipped += [each for each in results if isinstance(each, Skipped)]
        tracks = [each for each in results if not isinstance(each, Skipped)]
        if not tracks:
            raise UsageError("none of the files is sound audio; see 'marina publish --dry-run'")
        return tracks

    async def _track(
        self, key: bytes, source: Source, number: int, facts: ReleaseFacts, content_root: Secret[bytes]
    ) -> tuple[Cid, TrackManifest] | Skipped:
        entry = await self._journal.begin_track(key, source, self._random(32))
        done = finished(entry)
        if done is not None and (block := await sound(self._blocks, done)) is not None:
            return done, decode_track(block)
        try:
            cid, track = await self._maker.make(
                source, salt=entry.salt, number=number, facts=facts, content_root=content_root
            )
        except AudioError as err:
            return Skipped(source.path, str(err))
        await self._pin([(cid, track)])
        await self._journal.end_track(key, source, entry, cid)
        return cid, track

    async def _sign(
        self, release: Release, tracks: list[tuple[Cid, TrackManifest]], signer: AccountSigner
    ) -> SignedRelease:
        signed = sign_release(release, signer)
        await self._pin(tracks)
        await self._pins.pin([signed.cid], Retention.OWN)
        try:
            await self._blocks.put(signed.cid, signed.block)
        except MarinaError:
            await self._pins.unpin(signed.cid, Retention.OWN)  # or it would be missed for ever
            raise
        copies = {cid: encode_track(track) for cid, track in tracks} | {signed.cid: signed.block}
        await self._journal.keep_copies(release.release_id, copies)
        return signed

    async def _pin(self, tracks: list[tuple[Cid, TrackManifest]]) -> None:
        cids: list[Cid] = []
        for cid, track in tracks:
            cids.append(cid)
            for each in track.renditions:
                cids += [each.layout.root, each.keybox]
        await self._pins.pin(cids, Retention.OWN)

    async def _retire(self, before: _Tracks, after: _Tracks) -> tuple[Cid, ...]:
        """Let go of the audio that no version in force holds: it is cache from now on."""
        retired = tuple(sorted(_roots(before) - _roots(after)))
        for root in retired:
            await self._pins.unpin(root, Retention.OWN)
        return retired

    async def _remade(
        self,
        current: SignedRelease,
        old: tuple[Cid, TrackManifest],
        number: int,
        path: Path,
        content_root: Secret[bytes],
    ) -> tuple[Cid, TrackManifest]:
        cid, track = old
        facts = ReleaseFacts(
            track.account, current.release.release_id, current.release.artist, current.release.title,
            track.terms, track.tags, track.hints, artwork=current.release.artwork,
            keybox_of=self._keyboxes.as_before(track),
        )  # fmt: skip
        source = await reading(identify, path)
        return await self._maker.make(
            source,
            salt=track.salt,
            number=number,
            facts=facts,
            content_root=content_root,
            version=track.version + 1,
            previous=cid,
        )

    async def _rekeyed(
        self,
        track: TrackManifest,
        terms: PaidTerms,
        epochs: Mapping[tuple[TrackId, int], int],
        content_root: Secret[bytes],
    ) -> tuple[Cid, TrackManifest]:
        renditions = await self._keyboxes.renewed(track, terms, epochs, content_root)
        if renditions == track.renditions:
            return cid_of(encode_track(track), DAG_CBOR), track
        return await self._successor(track, renditions=renditions)

    async def _successor(self, track: TrackManifest, **changes: Any) -> tuple[Cid, TrackManifest]:
        previous = cid_of(encode_track(track), DAG_CBOR)
        changed = replace(track, version=track.version + 1, previous=previous, **changes)
        block = encode_track(changed)
        cid = cid_of(block, DAG_CBOR)
        await self._blocks.put(cid, block)
        return cid, changed

    async def _mended(self, cid: Cid, release_id: ReleaseId) -> Published | None:
        """Return a finished release, its manifests put back if need be; None if one of them is lost."""
        restored = await self._mender.mend_manifests(release_id)
        block = await sound(self._blocks, cid)
        if block is None:
            return None
        signed = open_release(block)
        tracks: list[tuple[Cid, TrackManifest]] = []
        copies = {cid: block}
        for each in signed.release.tracks:
            block = await sound(self._blocks, each)
            if block is None:
                return None
            copies[each] = block
            tracks.append((each, decode_track(block)))
        await self._journal.keep_copies(release_id, copies)
        return Published(signed, tuple(tracks), mended=Mended(blocks=restored))

    async def _tracks_of(self, release: Release) -> list[tuple[Cid, TrackManifest]]:
        return [(cid, decode_track(await self._blocks.get(check_cid(cid)))) for cid in release.tracks]


def _roots(tracks: _Tracks) -> set[Cid]:
    return {each.layout.root for _, track in tracks for each in track.renditions}


def _check_mine(release: Release, account: Account) -> None:
    if release.account != account:
        raise NotPermittedError("this release belongs to another account")
    if release.withdrawn:
        raise NotPermittedError("this release was withdrawn; publish it anew instead")
