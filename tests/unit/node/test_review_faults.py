"""Faults that must stay the fault of one song, one job or one search, and never end the node."""

from __future__ import annotations

import threading
from contextlib import aclosing, nullcontext
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
import trio

from marina.cid import RAW, Cid, cid_of
from marina.clock import ManualClock
from marina.errors import MalformedError, NotFoundError
from marina.ids import Account, PeerId, ReleaseId, TrackId
from marina.secret import Secret
from node.api.routes_music import MusicRoutes
from node.api.routes_publish import PublishRoutes
from node.downloads import Downloads
from node.playback import Playback
from node.providers import SwarmProviders
from node.replication import Keeper
from node.swarm import Swarm
from p2p.anchors import AnchorBook
from p2p.announce import HOUR_S, Announcer, Reason
from p2p.peerid import peer_id_from_seed
from p2p.providers import Found, Origin, Provider, ProviderFinder, Query
from p2p.releases import FetchedRelease, ReleaseFetcher
from storage.blocks.memory import MemoryBlockStore
from storage.content.keybox import public_keybox
from storage.content.layout import RenditionLayout
from storage.content.track import TrackManifest
from storage.errors import DiskFullError
from storage.kv import Batch, MemoryKv, Table
from storage.publish.models import Published
from storage.publish.scanning import reading
from storage.retention import Retention
from streaming.errors import NobodyHasItError
from streaming.quality import Quality
from tests.support.listening import KEY, NoKeys, Sealed, Source, filled_store, unwatched, whole
from tests.support.peers import seed

BLOCK = b"a small block"
ROOT = cid_of(BLOCK, RAW)


class OnePath:
    """Names one peer, then goes on looking."""

    timeout_s = 5.0

    def __init__(self, origin: Origin, peer: str) -> None:
        self.origin = origin
        self._peer = PeerId(peer)

    async def search(self, query: Query, found: Found) -> None:
        await found(Provider(self._peer, (), self.origin))
        await trio.sleep_forever()


class Connected:
    """A host to which everybody is connected."""

    peer_id = PeerId("own")

    def is_banned(self, peer: PeerId) -> bool:
        return False

    def is_connected(self, peer: PeerId) -> bool:
        return True

    def connected_peers(self) -> list[PeerId]:
        return []


class Answers:
    """A client whose peers have the block."""

    async def fetch(self, peer: PeerId, cids: list[Cid], *, timeout_s: float) -> dict[Cid, bytes]:
        await trio.lowlevel.checkpoint()
        return dict.fromkeys(cids, BLOCK)


def make_swarm() -> Swarm:
    finder = ProviderFinder(
        paths=[OnePath(Origin.DHT, "dht"), OnePath(Origin.GOSSIP, "gossip")], own=PeerId("own")
    )
    return Swarm(host=Connected(), anchors=SimpleNamespace(all=list), finder=finder)


async def test_a_search_for_providers_that_is_broken_off_leaves_nothing_running(autojump_clock):
    fetcher = ReleaseFetcher(
        blocks=MemoryBlockStore(quota_bytes=1 << 20),
        client=Answers(),
        peers=make_swarm(),
        corrupt=lambda *_: None,
    )
    before = list(trio.lowlevel.current_task().child_nurseries)
    with trio.fail_after(60):
        assert await fetcher.block(ROOT, ROOT) == BLOCK
    assert trio.lowlevel.current_task().child_nurseries == before


async def test_a_search_for_providers_that_is_cancelled_leaves_nothing_running(autojump_clock):
    providers = SwarmProviders(
        host=Connected(), client=None, bitswap=None, finder=make_swarm(), release_of=lambda _: None
    )
    before = list(trio.lowlevel.current_task().child_nurseries)
    with trio.move_on_after(1) as scope:
        async with aclosing(providers.providers(ROOT)) as found:
            async for _ in found:
                await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.lowlevel.current_task().child_nurseries == before


class Misfit(MemoryBlockStore):
    """Refuses every rendition, as a store does when a peer's manifest names a wrong root."""

    async def declare(self, layout: RenditionLayout) -> None:
        await trio.lowlevel.checkpoint()
        raise MalformedError("the root is not the root of these segments")


def one_song(sealed: Sealed, store: MemoryBlockStore) -> tuple[Playback, TrackManifest]:
    """Return a playback over a store, and a track that it can open."""
    track = sealed.manifest()
    box = public_keybox(sealed.run.key_name, KEY, sealed.kc)

    async def block(root: Cid, cid: Cid) -> bytes:
        await trio.lowlevel.checkpoint()
        return box.to_bytes()

    playback = Playback(
        blocks=store, source=Source(), block=block, lease=lambda _: nullcontext(), keys=NoKeys(),
        watching=unwatched,
    )  # fmt: skip
    return playback, track


async def test_a_song_whose_root_is_a_lie_is_refused_and_the_node_plays_on():
    playback, track = one_song(Sealed(b"sound" * 1000), Misfit(quota_bytes=1 << 20))
    async with trio.open_nursery() as nursery:
        await nursery.start(playback.run)
        for _ in range(2):
            with trio.fail_after(5), pytest.raises(MalformedError, match="root"):
                await playback.open(track, Quality.ORIGINAL)
        nursery.cancel_scope.cancel()


async def test_a_pledged_copy_that_nobody_delivers_fails_as_itself_and_not_as_a_group(autojump_clock):
    sealed = Sealed(b"sound" * 1000)
    blocks = MemoryBlockStore(quota_bytes=1 << 20)
    keeper = Keeper(
        blocks=blocks,
        library=None,
        downloads=Downloads(
            blocks=blocks, source=Source(), lease=lambda _: nullcontext(), watching=unwatched
        ),
        swarm=None,
        discovery=None,
        denylist=None,
        clock=ManualClock(),
    )
    with pytest.raises(NobodyHasItError):
        await keeper._fetch(sealed.layout, 0, lambda _: None)


class FullKv(MemoryKv):
    """A database on a full disk."""

    is_full = False

    async def write(self, batch: Batch) -> None:
        if self.is_full:
            raise DiskFullError("the disk is full: free some space")
        await super().write(batch)


async def test_a_full_disk_does_not_end_the_keeping_of_known_peers():
    kv = FullKv()
    book = AnchorBook(table=Table(kv, "anchors"), clock=ManualClock())
    peer = peer_id_from_seed(seed("a"))
    await book.seen(peer, ["/ip4/10.0.0.1/tcp/1"])
    kv.is_full = True
    await book.failed(peer)
    await book.seen(peer, ["/ip4/10.0.0.1/tcp/1"])
    for _ in range(8):
        await book.failed(peer)
    assert book.all() == []


async def test_a_full_disk_does_not_end_the_announcing(autojump_clock):
    kv, held = FullKv(), {ROOT: Reason.PUBLISHED}

    class Held:
        async def reason(self, root: Cid) -> Reason | None:
            await trio.lowlevel.checkpoint()
            return held.get(root)

    class TrioClock:
        def now_s(self) -> int:
            return 1_700_000_000 + int(trio.current_time())

        def monotonic_s(self) -> float:
            return trio.current_time()

    async def provide(root: Cid) -> int:
        await trio.lowlevel.checkpoint()
        return 1

    announcer = Announcer(
        table=Table(kv, "announced"), provide=provide, withdraw=lambda _: None, holdings=Held(),
        clock=TrioClock(), rng=Random(1),
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        await nursery.start(announcer.run)
        kv.is_full = True
        with pytest.raises(DiskFullError):
            await announcer.announce([ROOT])
        assert not announcer.is_announced(ROOT), "what is not on the disk is not promised"
        kv.is_full = False
        await announcer.announce([ROOT])
        await trio.sleep(60)
        held.clear()
        kv.is_full = True
        await trio.sleep(13 * HOUR_S)
        assert announcer.is_announced(ROOT)  # the schedule on disk still has it
        kv.is_full = False
        await trio.sleep(2 * HOUR_S)
        assert not announcer.is_announced(ROOT)
        nursery.cancel_scope.cancel()


def test_who_lists_the_segments_of_somebody_else_does_not_take_them_over():
    swarm = make_swarm()
    artist, thief = Account(b"a" * 20), Account(b"t" * 20)
    first, copied, second = (cid_of(name) for name in (b"first", b"copied", b"second"))
    swarm.note_release(first, ReleaseId(b"1" * 32), artist, [ROOT])
    swarm.note_release(copied, ReleaseId(b"2" * 32), thief, [ROOT])
    assert swarm.owner_of(ROOT) == (first, ReleaseId(b"1" * 32), artist)
    swarm.note_release(second, ReleaseId(b"1" * 32), artist, [ROOT])
    assert swarm.release_of(ROOT) == second


def test_a_part_belongs_to_the_track_of_the_account_that_had_it_first():
    swarm = make_swarm()
    artist, thief = Account(b"a" * 20), Account(b"t" * 20)
    first, copied, picture = (cid_of(name) for name in (b"first", b"copied", b"picture"))
    own, other = TrackId(b"1" * 32), TrackId(b"2" * 32)
    swarm.note_release(first, ReleaseId(b"1" * 32), artist, [ROOT, picture], {ROOT: own})
    swarm.note_release(copied, ReleaseId(b"2" * 32), thief, [ROOT], {ROOT: other})
    assert swarm.track_of(ROOT) == own
    assert swarm.track_of(picture) is None, "a whole release's picture is no track's"
    assert swarm.track_of(copied) is None


async def test_publishing_stops_at_once_while_a_large_file_is_read_from_a_slow_disk():
    release = threading.Event()

    def slow(path: Path) -> None:
        release.wait(10)

    try:
        with trio.fail_after(5), trio.move_on_after(0.05) as scope:
            await reading(slow, Path("song.flac"))
        assert scope.cancelled_caught
    finally:
        release.set()


class OneRelease:
    """The library, publisher and swarm of a node that has one release."""

    def __init__(self) -> None:
        self.version = 1
        self.announced: list[int] = []

    async def release(self, typed: str) -> int:
        await trio.lowlevel.checkpoint()
        return self.version

    async def withdraw(self, current: int, reason: str) -> SimpleNamespace:
        await trio.sleep(1)
        release = SimpleNamespace(
            version=current + 1, release_id=bytes(32), title="", artist="", withdrawn=True
        )
        signed = SimpleNamespace(release=release, cid=ROOT)
        return Published(signed, ())

    async def add(self, fetched: FetchedRelease, *, is_mine: bool, is_local: bool) -> None:
        self.version = fetched.signed.release.version

    async def released(self, signed: SimpleNamespace, roots: list[Cid], retired: tuple[Cid, ...]) -> None:
        self.announced.append(signed.release.version)

    async def published(self, release_id: bytes, cid: Cid | None) -> None:
        assert cid is None, "it was withdrawn"


async def test_two_tabs_at_once_sign_one_version_after_the_other(autojump_clock):
    one = OneRelease()
    routes = PublishRoutes(
        services=SimpleNamespace(library=one, publisher=one, discovery=one, ipfs=one), succession=trio.Lock()
    )
    ctx = SimpleNamespace(params={"id": "rl_x"}, body=SimpleNamespace(text=lambda *_, **__: "mistake"))
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(routes.withdraw, ctx)
    assert one.announced == [2, 3]


async def test_an_address_that_no_player_used_ends_after_five_minutes_and_a_used_one_goes_on():
    sealed = Sealed(b"sound" * 1000)
    store = await filled_store(sealed)
    playback, track = one_song(sealed, store)
    async with trio.open_nursery() as nursery:
        await nursery.start(playback.run)
        session = await playback.open(track, Quality.ORIGINAL)
        assert not playback.is_alive(session)
        assert await whole(session) == sealed.plain
        assert playback.is_alive(session)
        nursery.cancel_scope.cancel()


async def test_a_pinned_release_that_is_incomplete_hides_no_other():
    whole_cid, gone_cid = cid_of(b"whole"), cid_of(b"gone")

    class Shelf:
        async def newest_releases(self, *, limit):
            await trio.lowlevel.checkpoint()
            entries = [
                SimpleNamespace(cid=cid, release_id=bytes(32), title="", is_withdrawn=False)
                for cid in (gone_cid, whole_cid)
            ]
            return SimpleNamespace(items=entries[:limit])

        async def retention(self, cid):
            await trio.lowlevel.checkpoint()
            return Retention.PINNED

        async def resolve_release_cid(self, cid):
            await trio.lowlevel.checkpoint()
            if cid == gone_cid:
                raise NotFoundError("no peer that may have it is reachable")
            return SimpleNamespace(tracks=())

    shelf = Shelf()
    services = SimpleNamespace(
        catalog=shelf, library=shelf, playback=None, blocks=SimpleNamespace(pins=shelf), jobs=None
    )
    routes = MusicRoutes(services=services, ticket_key=Secret(bytes(32)))
    reply = await routes.pins(None)
    first, second = reply.data["items"]
    assert (first["bytes"], first["error"]) == (None, "no peer that may have it is reachable")
    assert second["bytes"] > 0
