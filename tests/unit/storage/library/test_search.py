"""Search: folding, typos, filters, order, and an index that always catches up with the catalogue."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from marina.errors import MarinaError, UsageError
from storage.errors import StorageError
from storage.kv import MemoryKv
from storage.library import search as search_module
from storage.library.query import Query, parse
from storage.library.search import SearchIndex

from .conftest import Shelf, make_id, make_release, make_track

WAIT_S = 10


@asynccontextmanager
async def running(directory: Path, shelf: Shelf) -> AsyncIterator[SearchIndex]:
    index = SearchIndex(directory, shelf.catalog)
    async with trio.open_nursery() as nursery:
        await nursery.start(index.run)
        with trio.fail_after(WAIT_S):
            await index.wait_current()
        yield index
        nursery.cancel_scope.cancel()


async def settled(index: SearchIndex) -> None:
    with trio.fail_after(WAIT_S):
        await index.wait_current()


async def titles(index: SearchIndex, query: str, **options: int) -> list[str]:
    page = await index.search(query, **options)
    return [hit.track.title for hit in page.hits]


async def stock(shelf: Shelf) -> None:
    """Fill a shelf with tracks that differ in every searched property."""
    add = shelf.add
    await add("night", "Night Drive", artist="Ada Morel", genres=("techno",), year=2021, duration_ms=312_000)
    await add("kolme", "Night Driver (dub)", artist="Kolme", licence="paid", is_licensed=False, year=2019)
    await add("live", "Night Drive (Live)", artist="Ada Morel", tags=("live", "drum and bass"), year=2015)
    await add("bjork", "Jóga", artist="Björk", album="Homogenic", year=1997, duration_ms=305_900)
    await add("acdc", "Thunderstruck", artist="AC/DC", genres=("rock",), year=1990)
    await add("chk", "Heart of Hearts", artist="!!!", year=0)
    await add("jp", "風をあつめて", artist="はっぴいえんど", year=1971)
    await add("kr", "봄날", artist="방탄소년단", year=2017)
    await add("ru", "Группа крови", artist="Кино", year=1988, is_mine=True)
    await add("opeth", "Ghost of Perdition", artist="Opeth", album="Damnation Song", year=2005)
    await add("song", "Damnation", artist="Somebody", year=2006)
    await add("dont", "Don’t Stop", artist="Fleetwood Mac", genres=("rock",), year=1977, is_local=True)


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MemoryKv]:
    """An index built once, for the tests that only read it."""
    directory = tmp_path_factory.mktemp("stocked") / "search"
    store = MemoryKv()

    async def build() -> None:
        shelf = Shelf(store=store)
        await stock(shelf)
        async with running(directory, shelf):
            pass

    trio.run(build)
    return directory, store


@pytest.fixture
async def index(stocked: tuple[Path, MemoryKv]) -> AsyncIterator[SearchIndex]:
    directory, store = stocked
    async with running(directory, Shelf(store=store)) as index:
        yield index


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("jóga", "Jóga"),
        ("joga", "Jóga"),
        ("JOGA BJORK", "Jóga"),
        ("bjørk", "Jóga"),
        ("acdc", "Thunderstruck"),
        ("ac/dc thunder", "Thunderstruck"),
        ("AC DC", "Thunderstruck"),
        ("dont stop", "Don’t Stop"),
        ("don't stop", "Don’t Stop"),
        ("!!!", "Heart of Hearts"),
        ("!!! hearts", "Heart of Hearts"),
        ("あつめ", "風をあつめて"),
        ("봄날", "봄날"),
        ("группа", "Группа крови"),
        ("Ada Morel - Night Drive", "Night Drive"),
    ],
)
async def test_case_accents_and_signs_do_not_matter(index: SearchIndex, query: str, first: str) -> None:
    assert (await titles(index, query))[0] == first


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("nigth drive", "Night Drive"),
        ("nght drive", "Night Drive"),
        ("niight drive", "Night Drive"),
        ("might drive", "Night Drive"),
        ("night drve ada", "Night Drive"),
        ("thunderstrcuk", "Thunderstruck"),
        ("bjrok", "Jóga"),
        ("группп крови", "Группа крови"),
        ("artist:bjrok", "Jóga"),
    ],
)
async def test_one_wrong_letter_is_forgiven(index: SearchIndex, query: str, first: str) -> None:
    page = await index.search(query)
    assert page.hits[0].track.title == first
    assert not page.is_loose


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("thundrestrcuk", "Thunderstruck"),
        ("perdittoin", "Ghost of Perdition"),
        ("nightdrive", "Night Drive"),
        ("homgenic", "Jóga"),
        ("tehcno", "Night Drive"),
        ("ghost of perdition remastered", "Ghost of Perdition"),
    ],
)
async def test_what_fits_nothing_is_looked_for_more_loosely_and_says_so(
    index: SearchIndex, query: str, first: str
) -> None:
    page = await index.search(query)
    assert page.hits[0].track.title == first
    assert page.is_loose


async def test_the_last_word_may_be_unfinished(index: SearchIndex) -> None:
    assert (await titles(index, "thun")) == ["Thunderstruck"]
    assert (await titles(index, "ghost of perd")) == ["Ghost of Perdition"]
    assert await titles(index, "ac thun") == ["Thunderstruck"]
    assert await titles(index, "gho opeth year:2006") == []


async def test_titles_rank_above_artists_and_albums(index: SearchIndex) -> None:
    assert await titles(index, "damnation") == ["Damnation", "Ghost of Perdition"]
    assert (await titles(index, "night drive"))[0] == "Night Drive"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("night genre:techno", {"Night Drive"}),
        ("night -tag:live", {"Night Drive", "Night Driver (dub)"}),
        ("night -dub -live", {"Night Drive"}),
        ("night -ada", {"Night Driver (dub)"}),
        ('tag:"drum and bass"', {"Night Drive (Live)"}),
        ('tag:"bass and drum"', set()),
        ('"drive live"', {"Night Drive (Live)"}),
        ('"night drive"', {"Night Drive", "Night Drive (Live)"}),
        ('"nigth drive"', set()),
        ("artist:ada year:2020..2024", {"Night Drive"}),
        ("year:1971", {"風をあつめて"}),
        ("year:..1989", {"Don’t Stop", "風をあつめて", "Группа крови"}),
        ("length:5:12", {"Night Drive"}),
        ("length:5:00..5:10", {"Jóga"}),
        ("length:5:05", {"Jóga"}),
        ("licence:paid", {"Night Driver (dub)"}),
        ("night licence:cc*", {"Night Drive", "Night Drive (Live)"}),
        ("night licence:cc-by-4.0", {"Night Drive", "Night Drive (Live)"}),
        ("licensed:false", {"Night Driver (dub)"}),
        ("mine:true", {"Группа крови"}),
        ("local:true", {"Don’t Stop"}),
        ("genre:rock , mine:true", {"Thunderstruck", "Don’t Stop", "Группа крови"}),
        ("genre:rokc", set()),
        ("title:damnation", {"Damnation"}),
        ("album:damnation", {"Ghost of Perdition"}),
        ("title:dri* -live", {"Night Drive", "Night Driver (dub)"}),
        ("codec:opus", set()),
        ("night mine:true", set()),
    ],
)
async def test_conditions_narrow_the_answer(index: SearchIndex, query: str, found: set[str]) -> None:
    page = await index.search(query)
    assert {hit.track.title for hit in page.hits} == found
    assert page.total == len(found)


async def test_negation_alone_keeps_everything_else(index: SearchIndex) -> None:
    page = await index.search("-artist:ada", limit=100)
    assert page.total == 10
    assert not any(hit.track.artist == "Ada Morel" for hit in page.hits)


async def test_without_words_the_latest_come_first(tmp_path: Path, shelf: Shelf) -> None:
    for number in range(5):
        shelf.clock.advance(10)
        await shelf.add(f"r{number}", f"T{number}", year=2000 + number % 2)
    async with running(tmp_path / "search", shelf) as index:
        assert await titles(index, "") == ["T4", "T3", "T2", "T1", "T0"]
        assert await titles(index, "year:2000", limit=2) == ["T4", "T2"]
        assert await titles(index, "year:2000", limit=2, offset=2) == ["T0"]


async def test_pages_of_an_answer_join_without_gap_or_overlap(tmp_path: Path, shelf: Shelf) -> None:
    await shelf.add("r", *[f"Song {number}" for number in range(25)])
    async with running(tmp_path / "search", shelf) as index:
        seen = [
            title
            for offset in range(0, 30, 10)
            for title in await titles(index, "song", limit=10, offset=offset)
        ]
        assert len(seen) == len(set(seen)) == 25


@pytest.mark.parametrize(
    "query",
    [
        "x" * 10_000,
        "word " * 1_000,
        "\x00\x01",
        '"open',
        "- , -",
        "artist:!",
        "(",
        "title:*",
    ],
)
async def test_a_hostile_query_ends_quickly_and_clearly(index: SearchIndex, query: str) -> None:
    with trio.fail_after(1), pytest.raises(UsageError, match=r"quer|quote|nothing|neither"):
        await index.search(query)


@pytest.mark.parametrize(("limit", "offset"), [(0, 0), (101, 0), (10, -1), (10, 10_001)])
async def test_limits_of_a_page_are_kept(index: SearchIndex, limit: int, offset: int) -> None:
    with pytest.raises(UsageError, match="results"):
        await index.search("night", limit=limit, offset=offset)


async def test_the_most_expensive_query_stays_quick(index: SearchIndex) -> None:
    words = " ".join(f"extraordinarily{chr(97 + number % 26)}{number}" for number in range(32))
    with trio.fail_after(2):
        await index.search(words)


async def test_additions_changes_and_removals_are_followed(tmp_path: Path, shelf: Shelf) -> None:
    async with running(tmp_path / "search", shelf) as index:
        assert await titles(index, "comet") == []
        await shelf.add("r", "Comet")
        await settled(index)
        assert await titles(index, "comet") == ["Comet"]
        await shelf.catalog.mark([make_id("track Comet")], is_local=True)
        await settled(index)
        assert await titles(index, "comet local:true") == ["Comet"]
        renamed = make_track("Comet", version=2, title="Meteor")
        await shelf.catalog.add(make_release([renamed], version=2), [renamed])
        await settled(index)
        assert await titles(index, "comet") == []
        assert await titles(index, "meteor") == ["Meteor"]
        await shelf.catalog.remove(make_id("release r"))
        await settled(index)
        assert (await index.search("")).total == 0


async def test_searches_go_on_while_tracks_are_added(tmp_path: Path, shelf: Shelf) -> None:
    await shelf.add("first", "Anchor")
    counts: list[int] = []
    async with running(tmp_path / "search", shelf) as index:

        async def look() -> None:
            while not counts or counts[-1] < 41:
                counts.append((await index.search("anchor , wave", limit=1)).total)
                await trio.sleep(0)

        with trio.fail_after(WAIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look)
                nursery.start_soon(look)
                for number in range(20):
                    await shelf.add(f"r{number}", f"Wave {number}a", f"Wave {number}b")
    assert min(counts) >= 1


async def test_an_undamaged_index_is_used_again_and_follows_what_it_missed(
    tmp_path: Path, shelf: Shelf
) -> None:
    await stock(shelf)
    async with running(tmp_path / "search", shelf):
        pass
    before = {path.name for path in (tmp_path / "search").glob("*.store")}
    async with running(tmp_path / "search", shelf) as index:
        assert (await index.search("")).total == 12
    assert {path.name for path in (tmp_path / "search").glob("*.store")} == before
    await shelf.add("late", "Latecomer")
    async with running(tmp_path / "search", shelf) as index:
        assert await titles(index, "latecomer") == ["Latecomer"]
    assert {path.name for path in (tmp_path / "search").glob("*.store")} >= before


def damage(directory: Path, kind: str) -> None:
    """Damage the index in one of the ways that disks and people do."""
    segments = sorted(directory.glob("*.idx")) + sorted(directory.glob("*.term"))
    if kind == "deleted":
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
    elif kind == "meta":
        (directory / "meta.json").write_text("{}")
    elif kind == "truncated":
        os.truncate(segments[0], segments[0].stat().st_size // 2)
    elif kind == "segment gone":
        segments[-1].unlink()
    elif kind == "flipped bit":
        data = bytearray(segments[0].read_bytes())
        data[len(data) // 4] ^= 4
        segments[0].write_bytes(data)
    elif kind == "marker":
        (directory / "marina.json").write_bytes(b"\xff{")
    elif kind == "older format":
        (directory / "marina.json").write_text('{"format": 0, "engine": "0.1", "sequence": 1}')
    elif kind == "ahead of the catalogue":
        marker = (directory / "marina.json").read_text()
        (directory / "marina.json").write_text(marker.replace('"sequence": 12', '"sequence": 99'))
    elif kind == "a file in its place":
        damage(directory, "deleted")
        directory.write_text("not a directory")


@pytest.mark.parametrize(
    "kind",
    [
        "deleted", "meta", "truncated", "segment gone", "flipped bit", "marker", "older format",
        "ahead of the catalogue", "a file in its place",
    ],
)  # fmt: skip
async def test_a_damaged_index_is_built_anew(tmp_path: Path, shelf: Shelf, kind: str) -> None:
    await stock(shelf)
    directory = tmp_path / "search"
    async with running(directory, shelf):
        pass
    before = {path.name for path in directory.glob("*.store")}
    damage(directory, kind)
    async with running(directory, shelf) as index:
        assert (await index.search("")).total == 12
        assert (await titles(index, "nigth drive"))[0] == "Night Drive"
        assert {path.name for path in directory.glob("*.store")}.isdisjoint(before)


async def test_a_crash_between_commit_and_note_costs_only_doing_it_again(
    tmp_path: Path, shelf: Shelf
) -> None:
    await stock(shelf)
    settle = shelf.catalog.settle

    async def crash(keys) -> None:
        raise KeyboardInterrupt

    async with running(tmp_path / "search", shelf):
        pass
    shelf.catalog.settle = crash
    await shelf.add("late", "Latecomer")
    with pytest.raises(BaseExceptionGroup):
        async with running(tmp_path / "search", shelf):
            pass
    shelf.catalog.settle = settle
    assert await shelf.catalog.pending(limit=10) != []
    async with running(tmp_path / "search", shelf) as index:
        assert (await index.search("latecomer")).total == 1
        assert (await index.search("")).total == 13
    assert await shelf.catalog.pending(limit=10) == []


async def test_a_crash_in_the_middle_of_a_rebuild_starts_it_again(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stock(shelf)
    monkeypatch.setattr(search_module, "STEP_TRACKS", 5)
    rows = shelf.catalog.track_rows

    async def crash(*, after: bytes = b"", limit: int = 5):
        if after:
            raise KeyboardInterrupt
        return await rows(after=after, limit=limit)

    shelf.catalog.track_rows = crash
    with pytest.raises(BaseExceptionGroup):
        async with running(tmp_path / "search", shelf):
            pass
    shelf.catalog.track_rows = rows
    async with running(tmp_path / "search", shelf) as index:
        page = await index.search("")
        assert page.total == 12
        assert page.is_complete


async def test_a_track_whose_row_is_damaged_does_not_stop_the_others(tmp_path: Path, shelf: Shelf) -> None:
    await stock(shelf)
    await shelf.catalog._tables.tracks.put(make_id("track Jóga"), b"\xc1")
    async with running(tmp_path / "search", shelf) as index:
        assert (await index.search("")).total == 11


async def test_an_index_that_breaks_while_running_heals_itself(tmp_path: Path, shelf: Shelf) -> None:
    await stock(shelf)
    async with running(tmp_path / "search", shelf) as index:
        real = index._index._index

        class Broken:
            schema = real.schema

            def searcher(self) -> None:
                raise ValueError("Data corrupted")

        index._index._index = Broken()
        with trio.fail_after(WAIT_S):
            assert (await titles(index, "thunderstruck")) == ["Thunderstruck"]


async def test_an_index_that_cannot_be_written_twice_is_built_anew(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "RETRY_S", (0.01,))
    monkeypatch.setattr(search_module, "WRITER_IDLE_S", 0.01)
    await stock(shelf)
    async with running(tmp_path / "search", shelf) as index:
        while index._index._writer is not None:
            await trio.sleep(0.01)
        (tmp_path / "search" / "meta.json").write_text("{}")
        await shelf.add("late", "Latecomer")
        await settled(index)
        assert (await index.search("latecomer")).total == 1
        assert (await index.search("")).total == 13


async def test_a_directory_that_cannot_be_made_leaves_the_rest_running(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "RETRY_S", (0.01,))
    (tmp_path / "file").write_text("in the way")
    await stock(shelf)
    index = SearchIndex(tmp_path / "file" / "search", shelf.catalog)
    async with trio.open_nursery() as nursery:
        await nursery.start(index.run)
        with pytest.raises(StorageError, match="not ready"):
            await index.search("night")
        (tmp_path / "file").unlink()
        await settled(index)
        assert (await index.search("")).total == 12
        nursery.cancel_scope.cancel()


async def test_two_services_on_one_directory_are_a_clear_error_and_no_damage(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "RETRY_S", (0.01,))
    await stock(shelf)
    async with running(tmp_path / "search", shelf) as index:
        await shelf.add("late", "Latecomer")
        await settled(index)
        second = SearchIndex(tmp_path / "search", shelf.catalog)
        async with trio.open_nursery() as nursery:
            await nursery.start(second.run)
            assert (await second.search("latecomer")).total == 1
            nursery.cancel_scope.cancel()
        assert (await index.search("latecomer")).total == 1


async def test_a_search_without_the_service_says_so(tmp_path: Path, shelf: Shelf) -> None:
    with pytest.raises(StorageError, match="daemon"):
        await SearchIndex(tmp_path / "search", shelf.catalog).search("night")


async def test_an_idle_writer_is_closed(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "WRITER_IDLE_S", 0.05)
    await stock(shelf)
    async with running(tmp_path / "search", shelf) as index:
        with trio.fail_after(WAIT_S):
            while index._index._writer is not None:
                await trio.sleep(0.01)
        await shelf.add("late", "Latecomer")
        await settled(index)
        assert (await index.search("latecomer")).total == 1


def test_importing_the_service_does_not_import_the_engine() -> None:
    import subprocess
    import sys

    code = "import storage.library.search, sys; sys.exit('tantivy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_every_parsed_query_is_answered_or_refused(index: SearchIndex) -> None:
    import random

    rng = random.Random(5)
    pieces = [
        "night", "-", "drive", '"a b"', "tag:", "year:2019..", "AC/DC", "!!!", "é", "*", "dr*", ",", "-live",
        "artist:ada", "licence:cc-*", "🎵", "\u200d", "length:..3:00", "風", "mine:false", "codec:flac",
        "a.b.c*", "-\"night drive\"", "genre:x*", "-year:2019", "o'", "…", "title:風*", "-ac/dc*",
    ]  # fmt: skip
    for _ in range(400):
        text = " ".join(rng.choices(pieces, k=rng.randint(0, 6)))
        try:
            query: Query = parse(text)
            page = await index.search(query, limit=5)
        except UsageError:
            continue
        except MarinaError as err:
            raise AssertionError(text) from err
        assert page.total >= len(page.hits)
