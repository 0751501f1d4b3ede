"""Which keybox each tier of a track gets: public, guarded, as before, or renewed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from marina.errors import DamagedError
from marina.ids import TrackId
from marina.secret import Secret
from storage.blocks.protocol import BlockStore
from storage.content.keybox import MODE_PUBLIC, Keybox, parse_keybox, public_keybox
from storage.content.keys import KeyName, check_commitment, derive_track_key
from storage.content.track import TIER_PREVIEW, Rendition, TrackManifest
from storage.pins import Pins
from storage.publish.paid import PaidJournal, PaidRequest, PaidTerms
from storage.publish.renditions import KeyboxMaker
from storage.retention import Retention


class Keyboxes:
    """Decides who can open what is published."""

    def __init__(self, *, blocks: BlockStore, pins: Pins, paid: PaidJournal) -> None:
        self._blocks = blocks
        self._pins = pins
        self._paid = paid

    async def of_release(self, release_key: bytes, request: PaidRequest | None) -> KeyboxMaker | None:
        """Return what makes the keyboxes of a release; None makes them public.

        The preview of a paid release is public: it is a clip of its own under a key of its own.

        Raises:
            MarinaError: as ``request.choose`` says; nothing was published.
        """
        if request is None:
            return None
        terms = await self._paid.terms(release_key, request)

        async def keybox(name: KeyName, key: Secret[bytes], kc: bytes) -> Keybox:
            if name.tier == TIER_PREVIEW:
                return public_keybox(name, key, kc)
            return await self._paid.first(name, key, kc, terms)

        return keybox

    async def forget(self, release_key: bytes) -> None:
        """Let other guardians be chosen for the same files: after a withdrawal."""
        await self._paid.forget_terms(release_key)

    def as_before(self, track: TrackManifest) -> KeyboxMaker:
        """Return what gives each tier the keybox that it has: a new file is not opened by other people."""

        async def keybox(name: KeyName, _: Secret[bytes], kc: bytes) -> Keybox:
            old = track.rendition(name.tier)
            if old is None or old.kc != kc:
                raise DamagedError("the key of this track is not the one of its keybox: restore a backup")
            return parse_keybox(await self._blocks.get(old.keybox))

        return keybox

    async def renewed(
        self,
        track: TrackManifest,
        terms: PaidTerms,
        epochs: Mapping[tuple[TrackId, int], int],
        content_root: Secret[bytes],
    ) -> tuple[Rendition, ...]:
        """Return a track's renditions with keyboxes of a later epoch; public ones stay.

        Args:
            track: whose.
            terms: who keeps the keys from now on.
            epochs: by track and tier, the anchored epoch; what is missing has none.
            content_root: root of the track keys.

        Raises:
            NotFoundError: a keybox is missing here.
            DamagedError: these words do not open this track.
        """
        renditions: list[Rendition] = []
        for each in track.renditions:
            box = parse_keybox(await self._blocks.get(each.keybox))
            if box.mode != MODE_PUBLIC:
                name = each.run.key_name
                key = derive_track_key(content_root, track.salt, name)
                check_commitment(key, name, each.kc)
                epoch = max(box.epoch, epochs.get((track.track_id, each.tier), 0)) + 1
                box = await self._paid.next(name, key, each.kc, terms, epoch)
                await self._pins.pin([box.cid], Retention.OWN)
                await self._blocks.put(box.cid, box.to_bytes())
            renditions.append(replace(each, keybox=box.cid))
        return tuple(renditions)
