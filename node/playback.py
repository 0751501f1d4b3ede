"""Play sessions of this node: opened for a track and a quality, kept while they are used."""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import trio

from marina.cid import Cid, cid_text
from marina.errors import LicenceNeededError, MarinaError, NotFoundError
from marina.ids import track_text
from marina.secret import Secret
from node.keys.keyring import Lease
from storage.blocks.protocol import BlockStore
from storage.content.keybox import MODE_PUBLIC, parse_keybox
from storage.content.segments import SegmentOpener
from storage.content.track import TIER_ORIGINAL, TIER_STREAM, Rendition, TrackManifest
from streaming.errors import TicketError
from streaming.fetcher import RenditionFetcher
from streaming.prefetch import should_prefetch
from streaming.providers import ProviderSource
from streaming.quality import Quality, choose_rendition
from streaming.session import PlaySession

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.node.playback")
SESSIONS_MAX = 32
IDLE_S = 600.0
_REAP_EVERY_S = 20.0
_PREFETCH_EVERY_S = 1.0


class PaidKeys(Protocol):
    """Keys of music that is not free; ``node.keys.keyring.Keyring`` is one."""

    @property
    def look_every_s(self) -> float:
        """How often running licences are looked at again."""
        ...

    async def lease(self, track: TrackManifest, rendition: Rendition, *, is_offline: bool = False) -> Lease:
        """Return the key that the owner may use now."""
        ...

    async def look_again(self, leases: Sequence[Lease]) -> list[Lease | None]:
        """Return running leases as they are now, None for each that has ended."""
        ...


class PlaybackFailedError(MarinaError):
    """A defect of ours ended a play session; the log has it."""

    code = "internal"


class Playback:
    """Opens sessions and closes those that nobody uses any more."""

    def __init__(
        self,
        *,
        blocks: BlockStore,
        source: ProviderSource,
        block: Callable[[Cid, Cid], Awaitable[bytes]],
        lease: Callable[[Cid], AbstractContextManager[None]],
        keys: PaidKeys,
        watching: Callable[[RenditionFetcher], AbstractAsyncContextManager[None]],
    ) -> None:
        """Take the collaborators.

        Args:
            blocks: where segments are and go.
            source: finds providers.
            block: ``await block(root, cid)`` returns a small block, from peers if need be.
            lease: keeps a root from being collected while the block runs.
            keys: of music that is not free.
            watching: counts what a fetcher gets from whom while the block runs.
        """
        self._blocks = blocks
        self._source = source
        self._block = block
        self._lease = lease
        self._keys = keys
        self._watching = watching
        self._sessions: OrderedDict[bytes, _Open] = OrderedDict()
        self._requests_in, self._requests = trio.open_memory_channel[_Open](SESSIONS_MAX)
        self._link_bps: float | None = None

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the sessions' fetchers until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reap)
            nursery.start_soon(self._prefetch)
            nursery.start_soon(self._look_at_licences)
            task_status.started()
            async for opened in self._requests:
                nursery.start_soon(self._run, opened)

    async def open(self, track: TrackManifest, quality: Quality, *, is_offline: bool = False) -> PlaySession:
        """Return a session that is fetching already.

        Raises:
            NotFoundError: there is nothing to play, or its key cannot be found.
            LicenceNeededError: it is not free.
            MalformedError: its root is not the root of its segments.
        """
        asked_s = trio.current_time()
        rendition = await self._choose(track, quality, ())
        try:
            opened = await self._begin(track, rendition, is_offline=is_offline)
        except LicenceNeededError:
            # Whoever may hear the original may hear the stream, but not the other way round.
            other = await self._choose(track, quality, (rendition.tier,))
            if quality is not Quality.AUTO or (rendition.tier, other.tier) != (TIER_ORIGINAL, TIER_STREAM):
                raise
            opened = await self._begin(track, other, is_offline=is_offline)
        session = opened.session
        while len(self._sessions) >= SESSIONS_MAX:
            _, oldest = self._sessions.popitem(last=False)
            oldest.stop()
        self._sessions[session.session_id] = opened
        session.begin(trio.current_time() - asked_s)
        return session

    async def _begin(self, track: TrackManifest, rendition: Rendition, *, is_offline: bool) -> _Open:
        fetcher = RenditionFetcher(
            layout=rendition.layout, blocks=self._blocks, source=self._source, is_offline=is_offline
        )
        opened = _Open(fetcher, self._lease, self._watching)
        try:
            await self._requests_in.send(opened)
            await opened.started.wait()
            if opened.failure is None:
                # The head is on its way while the key is looked for: a round trip less to sound.
                key, opened.licence = await self._key(track, rendition, is_offline=is_offline)
            if opened.failure is not None:
                raise opened.failure
        except BaseException:
            opened.stop()
            raise
        opened.session = PlaySession(
            session_id=opened.session_id,
            track=track,
            rendition=rendition,
            opener=SegmentOpener(rendition.run, key, rendition.kc, rendition.layout.plan.count),
            fetcher=fetcher,
            ends_s=None if opened.licence is None else opened.licence.ends_s,
        )
        return opened

    def get(self, session_id: bytes) -> PlaySession:
        """Return an open session; TicketError when it is over."""
        opened = self._sessions.get(session_id)
        if opened is None:
            raise TicketError("this stream is over: ask the node for a new one")
        self._sessions.move_to_end(session_id)  # the one unused for longest goes first
        return opened.session

    def by_text(self, text: str) -> PlaySession:
        """Return the session with a hex id; NotFoundError when it is over or never was."""
        try:
            return self.get(bytes.fromhex(text))
        except (ValueError, TicketError) as err:
            raise NotFoundError("no such play session: it may be over") from err

    def is_alive(self, session: PlaySession) -> bool:
        """Return whether a player read from it in the last ten minutes, so that its ticket goes on."""
        return session.is_read and trio.current_time() - session.used_s < IDLE_S

    def prefetch(self, session: PlaySession) -> None:
        """Fetch all of a session's rendition, not only what the player is near."""
        session.fetcher.want_all()

    def queue(self, session: PlaySession, following: TrackManifest, quality: Quality) -> None:
        """Name the track that comes next; its beginning is fetched when this one nears its end."""
        opened = self._sessions.get(session.session_id)
        if opened is not None:
            opened.following = (following, quality)

    def close(self, session_id: bytes) -> None:
        """End a session."""
        opened = self._sessions.pop(session_id, None)
        if opened is not None:
            opened.stop()

    def facts(self, session: PlaySession) -> dict[str, object]:
        """Return what clients show of a session, JSON-ready."""
        stats = session.fetcher.stats
        first_s = session.first_sound_s
        return {
            "session": session.session_id.hex(),
            "track": track_text(session.track.track_id),
            "title": session.track.title,
            "artist": session.track.artist,
            "album": session.track.album,
            "duration_ms": session.rendition.duration_ms,
            "tier": session.rendition.tier,
            "codec": session.rendition.codec,
            "mime": session.rendition.mime,
            "bitrate_bps": session.rendition.bitrate_bps,
            "root": cid_text(session.rendition.layout.root),
            "bytes": session.size_bytes,
            "peaks": list(session.track.waveform),
            "segments": session.segments(),
            "peers": [{"peer": peer, "bytes": size} for peer, size in stats.bytes_by_peer.most_common()],
            "complete": session.fetcher.is_complete,
            "leased": session.ends_s is not None,
            "licensed": session.is_licensed,
            "bytes_fetched": stats.bytes_fetched,
            "bytes_per_s": stats.bytes_per_s,
            "first_sound_ms": None if first_s is None else round(first_s * 1000, 1),
        }

    async def _run(self, opened: _Open) -> None:
        """Run a session to its end; whatever goes wrong ends that session and no other."""
        try:
            await opened.run()
        except Exception as err:  # noqa: BLE001 - the boundary that keeps one song's failure its own
            opened.failure = _told(err)
        finally:
            opened.started.set()
            self.close(opened.session_id)

    async def _choose(
        self, track: TrackManifest, quality: Quality, closed_tiers: Collection[int]
    ) -> Rendition:
        local = [
            each.tier
            for each in track.renditions
            if len(await self._blocks.have(each.layout.root)) == each.layout.plan.count
        ]
        return choose_rendition(
            track, quality, local_tiers=local, link_bps=self._link_bps, closed_tiers=closed_tiers
        )

    async def _key(
        self, track: TrackManifest, rendition: Rendition, *, is_offline: bool
    ) -> tuple[Secret[bytes], Lease | None]:
        """Return the key of a tier, and under which licence; None for free and one's own music."""
        box = parse_keybox(await self._block(rendition.layout.root, rendition.keybox))
        if box.mode == MODE_PUBLIC:
            return box.open_public(rendition.run.key_name), None
        lease = await self._keys.lease(track, rendition, is_offline=is_offline)
        return lease.key, None if lease.ends_s is None else replace(lease, key=Secret(b""))

    async def _look_at_licences(self) -> None:
        """End the sessions whose licences have ended, also when they are paid back or time goes faster."""
        while True:
            await trio.sleep(self._keys.look_every_s)
            licensed = [(each, each.licence) for each in self._sessions.values() if each.licence is not None]
            if not licensed:
                continue
            try:
                found = await self._keys.look_again([licence for _, licence in licensed])
            except MarinaError as err:
                log.info("licences are looked at again later: %s", err)
                continue
            for (opened, _), licence in zip(licensed, found, strict=True):
                opened.licence = licence
                if licence is None:
                    opened.session.end_licence()
                elif opened.session.is_licensed:
                    opened.session.ends_s = licence.ends_s

    async def _prefetch(self) -> None:
        while True:
            await trio.sleep(_PREFETCH_EVERY_S)
            for opened in list(self._sessions.values()):
                session = opened.session
                if opened.following is None or not should_prefetch(
                    played_share=session.playhead_byte / session.size_bytes,
                    duration_s=session.rendition.duration_ms / 1000,
                    is_current_complete=session.fetcher.is_complete,
                ):
                    continue
                (track, quality), opened.following = opened.following, None
                try:
                    await self.open(track, quality)
                except MarinaError as err:
                    log.info("the next track is not fetched ahead: %s", err)

    async def _reap(self) -> None:
        while True:
            await trio.sleep(_REAP_EVERY_S)
            now_s = trio.current_time()
            for session_id, opened in list(self._sessions.items()):
                stats = opened.session.fetcher.stats
                if stats.bytes_fetched:
                    self._link_bps = 8 * stats.bytes_per_s
                if now_s - opened.session.used_s > IDLE_S:
                    self.close(session_id)


class _Open:
    """A running fetcher, and the session that plays from it once its key is here."""

    session: PlaySession

    def __init__(
        self,
        fetcher: RenditionFetcher,
        lease: Callable[[Cid], AbstractContextManager[None]],
        watching: Callable[[RenditionFetcher], AbstractAsyncContextManager[None]],
    ) -> None:
        self.session_id = secrets.token_bytes(16)
        self.started = trio.Event()
        self.following: tuple[TrackManifest, Quality] | None = None
        self.failure: MarinaError | None = None
        self._fetcher = fetcher
        self.licence: Lease | None = None
        self._lease = lease
        self._watching = watching
        self._stopped = trio.Event()

    def stop(self) -> None:
        """End the fetcher."""
        self._stopped.set()

    async def run(self) -> None:
        """Fetch until stopped."""
        with self._lease(self._fetcher.layout.root):
            async with self._fetcher.running(), self._watching(self._fetcher):
                self.started.set()
                await self._stopped.wait()


def _told(err: Exception) -> MarinaError:
    """Return the failure of a session as a client may see it."""
    expected: BaseException = err
    while isinstance(expected, ExceptionGroup) and len(expected.exceptions) == 1:
        expected = expected.exceptions[0]
    if isinstance(expected, MarinaError):
        log.warning("a play session ended: %s", expected)
        return expected
    log.error("a play session failed", exc_info=err)
    return PlaybackFailedError("the node failed to play this; 'marina logs' shows why")
