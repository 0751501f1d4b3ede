"""The catalogue: versions, withdrawal, ids, lists and limits of foreign entries."""

from dataclasses import replace

import pytest

from marina.clock import ManualClock
from marina.errors import MalformedError, NotFoundError, UsageError
from marina.ids import base32
from storage.errors import DiskFullError, QuotaExceededError, StorageError
from storage.kv import LevelKv, MemoryKv
from storage.library.catalog import Catalog
from storage.library.foreign import CatalogLimits
from storage.library.models import ReleaseEntry, TrackEntry

from .conftest import Shelf, make_cid, make_id, make_release, make_track


async def consistency(shelf: Shelf) -> None:
    """Check that the sums and secondary keys say what the entries say."""
    tables = shelf.catalog._tables
    tracks = await tables.tracks.scan()
    releases = await tables.releases.scan()
    stat = await shelf.catalog.stat()
    assert (stat.tracks, stat.releases) == (len(tracks), len(releases))
    assert {key[8:] for key, _ in await tables.track_age.scan()} == {key for key, _ in tracks}
    assert {key[8:] for key, _ in await tables.release_age.scan()} == {key for key, _ in releases}
    foreign = [(await shelf.catalog.release(key[8:])) for key, _ in await tables.foreign.scan()]
    assert stat.foreign_weight == sum(release.weight for release in foreign)
    assert len(await tables.by_source.scan()) == len(foreign)
    for source in {release.source for release in foreign}:
        expected = sum(release.weight for release in foreign if release.source == source)
        assert await tables.read_source_weight(source) == expected


async def test_a_release_and_its_tracks_are_found_by_their_ids(shelf: Shelf) -> None:
    assert await shelf.add("r", "One", "Two")
    assert (await shelf.catalog.track(make_id("track One"))).title == "One"
    assert [track.title for track in await shelf.catalog.release_tracks(make_id("release r"))] == [
        "One",
        "Two",
    ]
    await consistency(shelf)


async def test_adding_the_same_release_again_changes_nothing(shelf: Shelf) -> None:
    await shelf.add("r", "One")
    shelf.clock.advance(100)
    sequence = await shelf.catalog.sequence()
    assert not await shelf.add("r", "One", source="12D3KooOther")
    assert await shelf.catalog.sequence() == sequence
    assert (await shelf.catalog.track(make_id("track One"))).source == ""
    await consistency(shelf)


async def test_a_later_version_replaces_and_an_older_one_does_not(shelf: Shelf) -> None:
    await shelf.add("r", "One", "Two")
    assert await shelf.add("r", "Two", "Three", version=2)
    assert await shelf.titles() == {"Two", "Three"}
    assert not await shelf.add("r", "One", "Two")
    assert await shelf.titles() == {"Two", "Three"}
    await consistency(shelf)


async def test_of_two_manifests_of_one_version_every_node_keeps_the_same() -> None:
    cids = sorted((make_cid("signed once"), make_cid("signed twice")))
    for order in (cids, cids[::-1]):
        catalog = Catalog(MemoryKv(), clock=ManualClock(1_700_000_000))
        for cid in order:
            track = replace(make_track("One", "r", 1), release_cid=cid)
            await catalog.add(make_release([track], cid=cid), [track])
        assert (await catalog.release(make_id("release r"))).cid == cids[-1]


async def test_fewer_known_tracks_of_the_same_version_take_none_away(shelf: Shelf) -> None:
    await shelf.add("r", "One", "Two")
    await shelf.add("r", "Two")
    assert await shelf.titles() == {"One", "Two"}
    await shelf.add("r", "One", "Two", "Three")
    assert [each.title for each in await shelf.catalog.release_tracks(make_id("release r"))] == [
        "One", "Two", "Three",
    ]  # fmt: skip
    await consistency(shelf)


async def test_flags_and_first_time_carry_over_to_a_new_version(shelf: Shelf) -> None:
    await shelf.add("r", "One", "Two", is_licensed=False)
    first = make_id("track One")
    await shelf.catalog.mark([first], is_local=True, is_licensed=True)
    before = await shelf.catalog.track(first)
    shelf.clock.advance(50)
    await shelf.add("r", "One", "Two", version=2, is_licensed=False)
    after = await shelf.catalog.track(first)
    assert (after.added_s, after.is_local, after.is_licensed) == (before.added_s, True, True)
    assert after.release_cid != before.release_cid
    changed = make_track("One", version=3, manifest=make_track("other").manifest)
    await shelf.catalog.add(make_release([changed], version=3), [changed])
    assert not (await shelf.catalog.track(first)).is_local
    await consistency(shelf)


async def test_a_withdrawn_release_loses_its_tracks_but_not_what_the_owner_keeps(shelf: Shelf) -> None:
    await shelf.add("r", "Kept", "Gone", source="12D3KooA")
    await shelf.catalog.mark([make_id("track Kept")], is_local=True)
    tombstone = make_release(version=2, is_withdrawn=True, reason="rights")
    assert await shelf.catalog.add(tombstone, [])
    assert await shelf.titles() == {"Kept"}
    assert (await shelf.catalog.release(make_id("release r"))).is_withdrawn
    assert not await shelf.add("r", "Kept", "Gone")
    await consistency(shelf)


async def test_withdrawing_ones_own_release_takes_all_its_tracks_away(shelf: Shelf) -> None:
    await shelf.add("r", "One", is_mine=True, is_local=True)
    await shelf.catalog.add(make_release(version=2, is_withdrawn=True), [])
    assert await shelf.titles() == set()
    await consistency(shelf)


async def test_a_removed_release_leaves_nothing(shelf: Shelf) -> None:
    await shelf.add("r", "One", "Two", source="12D3KooA")
    assert await shelf.catalog.remove(make_id("release r"))
    assert not await shelf.catalog.remove(make_id("release r"))
    with pytest.raises(NotFoundError, match="marina find"):
        await shelf.catalog.track(make_id("track One"))
    assert (await shelf.catalog.stat()).foreign_weight == 0
    await consistency(shelf)


async def test_another_account_cannot_take_a_track_over(shelf: Shelf) -> None:
    await shelf.add("r", "One")
    thief = make_track("One", "stolen")
    release = make_release([thief], "stolen", account=b"\xbb" * 20, version=1)
    with pytest.raises(MalformedError, match="another account"):
        await shelf.catalog.add(release, [thief])
    assert (await shelf.catalog.track(thief.track_id)).release_id == make_id("release r")
    await consistency(shelf)


async def test_entries_that_are_not_the_releases_are_refused(shelf: Shelf) -> None:
    track = make_track("One")
    with pytest.raises(ValueError, match="one entry for each"):
        await shelf.catalog.add(make_release([track]), [])
    with pytest.raises(ValueError, match="one entry for each"):
        await shelf.catalog.add(make_release([track, track]), [track, track])
    with pytest.raises(ValueError, match="this release version"):
        await shelf.catalog.add(make_release([track], version=2), [track])


async def test_a_unique_start_of_an_id_is_enough(shelf: Shelf) -> None:
    await shelf.add("r", *[f"Track {n}" for n in range(200)])
    wanted = await shelf.catalog.track(make_id("track Track 77"))
    for chars in (9, 10, 11, 12, 20, 54, 55):
        assert await shelf.catalog.resolve_track(wanted.text_id[:chars]) == wanted
    assert await shelf.catalog.resolve_track(wanted.text_id[3:15]) == wanted
    assert await shelf.catalog.resolve_track("marina:" + wanted.text_id) == wanted
    assert (await shelf.catalog.resolve_release(base32(make_id("release r"))[:6])).title == "r"


@pytest.mark.parametrize("last", [0x00, 0x80, 0xFF])
async def test_ids_at_the_edges_of_a_prefix_are_resolved(shelf: Shelf, last: int) -> None:
    ids = [bytes([first]) * 31 + bytes([last]) for first in (0x00, 0x7F, 0x80, 0xFF)]
    tracks = [replace(make_track(f"T{n}"), track_id=each) for n, each in enumerate(ids)]
    await shelf.catalog.add(make_release(tracks), tracks)
    for track in tracks:
        for chars in (9, 30, 54, 55):
            assert await shelf.catalog.resolve_track(track.text_id[:chars]) == track


async def test_a_start_that_fits_several_ids_is_refused_with_the_candidates(shelf: Shelf) -> None:
    tracks = [replace(make_track(f"T{n}"), track_id=b"\x11\x22\x33\x44" + bytes([n]) * 28) for n in range(5)]
    await shelf.catalog.add(make_release(tracks), tracks)
    with pytest.raises(UsageError, match="fits"):
        await shelf.catalog.resolve_track(tracks[0].text_id[:9])
    assert await shelf.catalog.resolve_track(tracks[3].text_id[:14]) == tracks[3]


@pytest.mark.parametrize("typed", ["tr_abc", "", "tr_", "-1", "x" * 5])
async def test_a_start_that_is_too_short_is_refused(shelf: Shelf, typed: str) -> None:
    with pytest.raises(UsageError, match="too short"):
        await shelf.catalog.resolve_track(typed)


@pytest.mark.parametrize(
    "typed", ["tr_abcdefgh", "tr_ABCDEFGH", "tr_!!!!!!!!", "a" * 500, "tr_\x00\x00\x00\x00\x00\x00"]
)
async def test_an_id_that_nothing_has_is_not_found(shelf: Shelf, typed: str) -> None:
    await shelf.add("r", "One")
    with pytest.raises(NotFoundError):
        await shelf.catalog.resolve_track(typed)


async def test_lists_come_newest_first_page_by_page(shelf: Shelf) -> None:
    for number in range(7):
        await shelf.add(f"r{number}", f"T{number}")
        shelf.clock.advance(1)
    seen: list[str] = []
    cursor = None
    while True:
        page = await shelf.catalog.newest_tracks(limit=3, cursor=cursor)
        seen += [each.title for each in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert seen == [f"T{number}" for number in reversed(range(7))]
    releases = await shelf.catalog.newest_releases(limit=2)
    assert [each.title for each in releases.items] == ["r6", "r5"]
    assert releases.next is not None


@pytest.mark.parametrize("cursor", ["", "x", "aaaa", "a" * 1000, "\x00"])
async def test_a_foreign_cursor_is_refused(shelf: Shelf, cursor: str) -> None:
    with pytest.raises(UsageError, match="cursor"):
        await shelf.catalog.newest_tracks(cursor=cursor)


async def test_numbers_mean_the_last_list(shelf: Shelf) -> None:
    await shelf.add("r", "One", "Two", "Three")
    ids = [make_id("track Three"), make_id("track One")]
    await shelf.catalog.results.save(ids)
    assert (await shelf.catalog.resolve_track("1")).title == "Three"
    assert (await shelf.catalog.resolve_track("2")).title == "One"
    for number in ("0", "3", "9999"):
        with pytest.raises(NotFoundError, match="has 2 tracks"):
            await shelf.catalog.resolve_track(number)
    with pytest.raises(NotFoundError, match="is empty"):
        await shelf.catalog.results.pick(1, client="player")


async def test_one_peer_cannot_push_out_another(shelf: Shelf) -> None:
    shelf = Shelf(CatalogLimits(source_tracks_max=10, foreign_tracks_max=100))
    await shelf.add("honest", "Song", source="12D3KooHonest")
    for number in range(30):
        shelf.clock.advance(1)
        await shelf.add(f"spam{number}", f"S{number}a", f"S{number}b", source="12D3KooSpam")
    titles = await shelf.titles()
    assert "Song" in titles
    assert titles - {"Song"} == {f"S{n}{half}" for n in range(25, 30) for half in "ab"}
    await consistency(shelf)


async def test_the_least_recently_used_foreign_release_goes_first() -> None:
    shelf = Shelf(CatalogLimits(source_tracks_max=3, foreign_tracks_max=4))
    for number in range(4):
        await shelf.add(f"r{number}", f"T{number}", source=f"peer{number}")
        shelf.clock.advance(1)
    shelf.clock.advance(4000)
    await shelf.catalog.touch([make_id("release r0")])
    await shelf.add("r4", "T4", source="peer4")
    assert await shelf.titles() == {"T0", "T2", "T3", "T4"}
    await consistency(shelf)


async def test_own_and_local_music_is_never_evicted_and_does_not_count() -> None:
    shelf = Shelf(CatalogLimits(source_tracks_max=2, foreign_tracks_max=2))
    await shelf.add("mine", "Mine", is_mine=True)
    await shelf.add("kept", "Kept", source="peer")
    await shelf.catalog.mark([make_id("track Kept")], is_local=True)
    for number in range(5):
        shelf.clock.advance(1)
        await shelf.add(f"r{number}", f"T{number}", source="peer")
    assert await shelf.titles() == {"Mine", "Kept", "T3", "T4"}
    await shelf.catalog.mark([make_id("track Kept")], is_local=False)
    assert (await shelf.catalog.stat()).foreign_weight == 3
    shelf.clock.advance(1)
    await shelf.add("r5", "T5", source="peer")
    assert len(await shelf.titles()) == 3
    await consistency(shelf)


async def test_tombstones_of_strangers_count_too() -> None:
    shelf = Shelf(CatalogLimits(source_tracks_max=3, foreign_tracks_max=10))
    for number in range(9):
        shelf.clock.advance(1)
        tombstone = make_release(release=f"r{number}", is_withdrawn=True, source="peer", version=2)
        await shelf.catalog.add(tombstone, [])
    assert (await shelf.catalog.stat()).releases == 3
    await consistency(shelf)


async def test_a_release_larger_than_the_limit_is_refused_and_evicts_nothing() -> None:
    shelf = Shelf(CatalogLimits(source_tracks_max=3, foreign_tracks_max=10))
    await shelf.add("small", "T", source="peer")
    with pytest.raises(QuotaExceededError, match="4 tracks"):
        await shelf.add("large", "A", "B", "C", "D", source="peer")
    assert await shelf.titles() == {"T"}


async def test_the_outbox_names_what_changed_until_it_is_settled(shelf: Shelf) -> None:
    await shelf.add("r", "One", "Two")
    await shelf.catalog.mark([make_id("track One")], is_local=True)
    changes = await shelf.catalog.pending(limit=10)
    assert [change.sequence for change in changes] == [1, 2]
    assert [set(change.track_ids) for change in changes] == [
        {make_id("track One"), make_id("track Two")},
        {make_id("track One")},
    ]
    await shelf.catalog.settle([changes[0].key])
    assert [change.sequence for change in await shelf.catalog.pending(limit=10)] == [2]
    await shelf.catalog.settle_all(until=1)
    assert len(await shelf.catalog.pending(limit=10)) == 1
    await shelf.catalog.settle_all(until=2)
    assert await shelf.catalog.pending(limit=10) == []


async def test_the_catalogue_outlives_the_process(tmp_path) -> None:
    store = LevelKv(tmp_path / "meta")
    await Shelf(store=store).add("r", "One", source="peer")
    await store.close()
    store = LevelKv(tmp_path / "meta")
    again = Shelf(store=store)
    assert await again.titles() == {"One"}
    assert await again.catalog.sequence() == 1
    await again.add("s", "Two")
    assert await again.catalog.sequence() == 2
    await consistency(again)
    await store.close()


class FullDisk(MemoryKv):
    """Refuses writes on demand."""

    is_full = False

    async def write(self, batch) -> None:
        if self.is_full:
            raise DiskFullError("the disk is full")
        await super().write(batch)


async def test_a_refused_write_changes_nothing_and_the_next_one_counts_right() -> None:
    store = FullDisk()
    shelf = Shelf(store=store)
    await shelf.add("r", "One")
    store.is_full = True
    with pytest.raises(DiskFullError):
        await shelf.add("s", "Two")
    store.is_full = False
    assert await shelf.titles() == {"One"}
    await shelf.add("s", "Two")
    await consistency(shelf)


async def test_a_damaged_row_is_a_clear_error(shelf: Shelf) -> None:
    await shelf.add("r", "One")
    await shelf.catalog._tables.tracks.put(make_id("track One"), b"\xc1 damaged")
    with pytest.raises(StorageError, match="repo repair"):
        await shelf.catalog.track(make_id("track One"))


def test_records_are_registered_with_their_versions() -> None:
    from marina.schema import registered

    assert registered()["marina/library/track/1"] is TrackEntry
    assert registered()["marina/library/release/1"] is ReleaseEntry


async def test_writers_at_the_same_time_do_not_lose_changes(shelf: Shelf) -> None:
    import trio

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(shelf.add, f"r{number}", f"T{number}")
    assert (await shelf.catalog.stat()).tracks == 20
    assert await shelf.catalog.sequence() == 20
    assert isinstance(shelf.catalog, Catalog)
    await consistency(shelf)
