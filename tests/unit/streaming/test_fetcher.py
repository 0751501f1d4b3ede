"""The fetcher over providers in memory: what it asks, keeps, gives up and tries again."""

from __future__ import annotations

import os

import pytest
import trio

from marina.errors import MalformedError
from storage.blocks.memory import MemoryBlockStore
from storage.content.layout import RenditionLayout
from storage.errors import DiskFullError, QuotaExceededError
from streaming import keeper
from streaming.errors import NobodyHasItError
from tests.support.listening import Sealed, Source, Twin, fetcher_of, filled_store, whole


async def test_liars_and_empty_hands_are_noticed_and_the_bytes_are_right():
    sealed = Sealed(os.urandom(3_000_000))
    liar, empty, honest = Twin("liar", sealed, "lie"), Twin("empty", sealed, "empty"), Twin("ok", sealed)
    async with fetcher_of(sealed, Source(liar, empty, honest)).running() as fetcher:
        await fetcher.fetch_all(timeout_s=20)
        assert fetcher.is_complete
        assert set(fetcher.stats.served_by.values()) == {"ok"}
        assert liar.corrupt >= 1
        assert await whole(sealed.session(fetcher)) == sealed.plain


async def test_a_liar_that_is_named_again_and_again_is_asked_once(monkeypatch):
    # In real time: the virtual clock would jump while a thread hashes.
    monkeypatch.setattr("streaming.provider_book._AGAIN_S", 0.05)
    sealed = Sealed(os.urandom(1_000_000))
    liar = Twin("liar", sealed, "lie")
    source = Source(liar)
    async with fetcher_of(sealed, source).running() as fetcher:
        with pytest.raises(NobodyHasItError):
            await fetcher.fetch_all(timeout_s=0.5)
        assert source.looks > 3
        assert liar.sessions == 1


async def test_a_peer_that_is_gone_is_not_dialled_all_the_time(autojump_clock):
    sealed = Sealed(os.urandom(1_000_000))
    dead = Twin("dead", sealed, dies_after=0)
    async with fetcher_of(sealed, Source(dead)).running():
        await trio.sleep(120)
        assert 3 <= dead.sessions <= 8


async def test_a_peer_that_cannot_be_reached_holds_up_no_segment(autojump_clock):
    sealed = Sealed(os.urandom(300_000))
    hung, honest = Twin("hung", sealed, delay_s=3600), Twin("ok", sealed, delay_s=0.01)
    async with fetcher_of(sealed, Source(hung, honest)).running() as fetcher:
        with trio.fail_after(1):
            await fetcher.segment(0)
    assert not hung.asked


@pytest.mark.parametrize("kind", ["busy", "denies", "stall"])
async def test_a_peer_that_does_not_deliver_is_not_pestered(kind, autojump_clock):
    sealed = Sealed(os.urandom(1_000_000))
    twin = Twin("a", sealed, kind, delay_s=0.01)
    async with fetcher_of(sealed, Source(twin)).running() as fetcher:
        fetcher.want_all()
        await trio.sleep(120)
        assert len(twin.asked) < 150
        twin.kind = "honest"
        await fetcher.fetch_all(timeout_s=120)


async def test_a_provider_that_gets_a_segment_later_is_asked_for_it_again(autojump_clock):
    sealed = Sealed(os.urandom(1_000_000))
    partial = Twin("partial", sealed, has={0, 1, 2})
    async with fetcher_of(sealed, Source(partial)).running() as fetcher:
        fetcher.want_all()
        await trio.sleep(5)
        partial.has = None
        await fetcher.fetch_all(timeout_s=60)


async def test_one_provider_that_appears_late_ends_the_wait(autojump_clock):
    sealed = Sealed(os.urandom(500_000))
    source = Source()
    async with fetcher_of(sealed, source).running() as fetcher, trio.open_nursery() as nursery:

        async def appear():
            await trio.sleep(10)
            source.twins.append(Twin("late", sealed))

        nursery.start_soon(appear)
        assert await fetcher.segment(3) == sealed.segments[3]


async def test_nobody_has_it_says_which_segment_and_that_it_is_tried_again(autojump_clock):
    sealed = Sealed(os.urandom(500_000))
    async with fetcher_of(sealed, Source(Twin("empty", sealed, "empty"))).running() as fetcher:
        with pytest.raises(NobodyHasItError, match="none of 1 connected providers has segment 1 of 7 now"):
            await fetcher.segment(0)


async def test_nobody_has_it_says_when_a_segment_came_last(autojump_clock):
    sealed = Sealed(os.urandom(500_000))
    async with fetcher_of(sealed, Source(Twin("ada", sealed, dies_after=1))).running() as fetcher:
        await fetcher.segment(0)
        await trio.sleep(70)
        with pytest.raises(
            NobodyHasItError, match="segment 4 of 7 now; a segment last came 90 s ago from ada"
        ):
            await fetcher.segment(3)


async def test_a_complete_rendition_plays_without_asking_anybody():
    sealed = Sealed(os.urandom(500_000))
    source = Source(Twin("a", sealed))
    async with fetcher_of(sealed, source, blocks=await filled_store(sealed)).running() as fetcher:
        assert await whole(sealed.session(fetcher)) == sealed.plain
        await fetcher.fetch_all()
        assert source.looks == 0


async def test_offline_says_at_once_what_is_not_here(autojump_clock):
    sealed = Sealed(os.urandom(500_000))
    source = Source(Twin("a", sealed))
    async with fetcher_of(sealed, source, is_offline=True).running() as fetcher:
        began_s = trio.current_time()
        with pytest.raises(NobodyHasItError, match="asked to stay offline"):
            await fetcher.segment(2)
        with pytest.raises(NobodyHasItError, match="asked to stay offline"):
            await fetcher.fetch_all()
        assert trio.current_time() == began_s
        assert source.looks == 0


async def test_a_segment_that_is_damaged_on_the_disk_is_fetched_anew_and_never_served():
    sealed = Sealed(os.urandom(500_000))
    blocks = await filled_store(sealed)
    twin = Twin("a", sealed)
    async with fetcher_of(sealed, Source(twin), blocks=blocks).running() as fetcher:
        blocks._renditions[sealed.layout.root].segments[3] = bytes(len(sealed.segments[3]))
        assert await whole(sealed.session(fetcher)) == sealed.plain
        assert twin.asked == [3]
    assert (await blocks.get_segments(sealed.layout.root, [3])) == [sealed.segments[3]]


async def test_a_rendition_that_is_deleted_under_the_player_plays_on():
    sealed = Sealed(os.urandom(3_000_000))
    blocks = MemoryBlockStore(1 << 30)
    async with fetcher_of(
        sealed, Source(Twin("a", sealed, delay_s=0.005)), blocks=blocks
    ).running() as fetcher:
        session = sealed.session(fetcher)
        await session.plaintext(0)
        await blocks.delete(sealed.layout.root)
        assert await whole(session) == sealed.plain
    assert not await blocks.have(sealed.layout.root)


async def test_with_the_quota_full_the_song_plays_from_memory():
    sealed = Sealed(os.urandom(2_000_000))
    blocks = MemoryBlockStore(100_000)
    async with fetcher_of(sealed, Source(Twin("a", sealed)), blocks=blocks).running() as fetcher:
        assert await whole(sealed.session(fetcher)) == sealed.plain
        with pytest.raises(QuotaExceededError):
            await fetcher.fetch_all()
    assert (await blocks.stat()).bytes_used == 0


async def test_from_memory_a_long_song_is_neither_fetched_whole_nor_in_circles(monkeypatch):
    monkeypatch.setattr(keeper, "MEMORY_BYTES", 1_000_000)
    monkeypatch.setattr("streaming.fetcher._AHEAD_IN_MEMORY_BYTES", 500_000)
    sealed = Sealed(os.urandom(6_000_000))
    twin = Twin("a", sealed)
    async with fetcher_of(sealed, Source(twin), blocks=MemoryBlockStore(100_000)).running() as fetcher:
        fetcher.want_all()
        session = sealed.session(fetcher)
        with session.reading(1_000_000) as reader:
            await reader.read(1_000_000, 1_000_100)
            await trio.sleep(0.5)
            assert twin.sent < 12
        assert await whole(session) == sealed.plain
        assert twin.sent < 2 * len(sealed.segments)


class FullDisk(MemoryBlockStore):
    """A store whose disk is full once something was written."""

    async def put_segments(self, root, segments):
        if await self.have(root):
            raise DiskFullError("the disk is full")
        await super().put_segments(root, segments)

    async def flush(self, root):
        raise DiskFullError("the disk is full")


async def test_a_disk_that_fills_up_in_mid_song_stops_keeping_and_not_the_sound():
    sealed = Sealed(os.urandom(2_000_000))
    async with fetcher_of(sealed, Source(Twin("a", sealed)), blocks=FullDisk(1 << 30)).running() as fetcher:
        assert await whole(sealed.session(fetcher)) == sealed.plain
        with pytest.raises(DiskFullError):
            await fetcher.fetch_all()


async def test_a_root_of_other_segments_is_refused_before_anything_is_asked():
    sealed = Sealed(os.urandom(500_000))
    source = Source(Twin("a", sealed))
    wrong = RenditionLayout(sealed.layout.root, 500_000, bytes(len(sealed.layout.digests)))
    fetcher = fetcher_of(sealed, source)
    fetcher.layout = wrong
    fetcher._keeper._layout = wrong
    with pytest.raises(MalformedError):
        async with fetcher.running():
            pass
    assert source.looks == 0


async def test_useless_peers_give_way_to_one_that_has_the_song(autojump_clock):
    sealed = Sealed(os.urandom(1_000_000))
    crowd = [Twin(f"e{number}", sealed, "empty") for number in range(40)]
    async with fetcher_of(sealed, Source(*crowd, Twin("ok", sealed))).running() as fetcher:
        await fetcher.fetch_all(timeout_s=120)
        assert len(fetcher.peers) <= 16


async def test_what_a_reader_left_behind_is_not_fetched(autojump_clock):
    sealed = Sealed(os.urandom(30_000_000))
    twin = Twin("a", sealed, delay_s=0.05)
    async with fetcher_of(sealed, Source(twin)).running() as fetcher:
        session = sealed.session(fetcher)
        with session.reading(0) as reader:
            for place in range(1_000_000, 29_000_000, 4_000_000):
                assert await reader.read(place, place + 10) == sealed.plain[place : place + 10]
        await trio.sleep(30)
        assert twin.sent < len(sealed.segments) / 2


async def test_an_error_of_the_caller_leaves_as_itself():
    with pytest.raises(LookupError, match="the caller's own"):
        async with fetcher_of(Sealed(os.urandom(100_000)), Source()).running():
            raise LookupError("the caller's own")


async def test_peers_are_let_go_when_everything_is_here():
    sealed = Sealed(os.urandom(500_000))
    async with fetcher_of(sealed, Source(Twin("a", sealed), Twin("b", sealed))).running() as fetcher:
        await fetcher.fetch_all()
        await trio.testing.wait_all_tasks_blocked()
        assert fetcher.peers == []


async def test_each_of_many_callers_of_one_segment_gets_it_and_it_is_asked_once():
    sealed = Sealed(os.urandom(2_000_000))
    twin = Twin("a", sealed, delay_s=0.01)
    async with fetcher_of(sealed, Source(twin)).running() as fetcher:
        found = []

        async def call():
            found.append(await fetcher.segment(6))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(call)
        assert found == [sealed.segments[6]] * 20
        assert twin.asked.count(6) == 1


async def test_a_call_that_is_given_up_no_longer_presses(autojump_clock):
    sealed = Sealed(os.urandom(2_000_000))
    source = Source()
    async with fetcher_of(sealed, source).running() as fetcher:
        with trio.move_on_after(1):
            await fetcher.segment(6)
        twin = Twin("a", sealed)
        source.twins.append(twin)
        await trio.sleep(10)
        assert 6 not in twin.asked
