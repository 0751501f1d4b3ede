"""The index on its own: writes that fail, bits that flip, and a process that is killed."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from marina.schema import encode_record
from storage.errors import DiskFullError, HomeInUseError, StorageError
from storage.kv import LevelKv
from storage.library import query_index
from storage.library.index_files import is_whole, read_marker
from storage.library.query import parse
from storage.library.query_index import QueryIndex
from storage.library.search import SearchIndex

from .conftest import Shelf, make_track


def rows(first: int, last: int) -> list[tuple[bytes, bytes | None]]:
    tracks = (make_track(f"Song {number} w{number * 7919}") for number in range(first, last))
    return [(track.track_id, encode_record(track)) for track in tracks]


def write(index: QueryIndex, changed: list[tuple[bytes, bytes | None]]) -> None:
    index.apply(changed)
    index.commit()


def total(index: QueryIndex, query: str = "") -> int:
    return index.search(parse(query), limit=5, offset=0).total


@contextmanager
def small_files() -> Iterator[None]:
    """Make every write past 20 kB of a file fail, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_failed_write_keeps_the_last_commit_and_the_next_one_succeeds(tmp_path: Path) -> None:
    index = QueryIndex(tmp_path / "search")
    assert index.open() is None
    index.apply(rows(0, 100))
    index.commit()
    with small_files(), pytest.raises(StorageError, match="cannot be written"):
        write(index, rows(100, 3000))
    assert total(index) == 100
    index.apply(rows(100, 3000))
    index.commit()
    assert total(index) == 3000
    index.close()


def test_a_failed_write_on_a_full_disk_is_named_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = QueryIndex(tmp_path / "search")
    index.open()
    monkeypatch.setattr(query_index, "FREE_BYTES_MIN", 1 << 62)
    with small_files(), pytest.raises(DiskFullError, match="free some space"):
        write(index, rows(0, 3000))
    index.close()


def test_files_that_a_killed_commit_left_are_removed(tmp_path: Path) -> None:
    index = QueryIndex(tmp_path / "search")
    index.open()
    write(index, rows(0, 10))
    index.close_writer()
    segment = next((tmp_path / "search").glob("*.idx")).stem
    strays = [tmp_path / "search" / f"{segment}.{stamp}.del" for stamp in range(11, 40)]
    strays.append(tmp_path / "search" / f"{'ab' * 16}.idx")
    for path in strays:
        path.write_bytes(b"half a file")
    write(index, [(track_id, None) for track_id, _ in rows(0, 3)])
    assert total(index) == 7
    assert sum(path.exists() for path in strays) == 1  # the one that this very commit wrote
    index.close()


def test_what_was_not_committed_is_gone_after_a_failure(tmp_path: Path) -> None:
    index = QueryIndex(tmp_path / "search")
    index.open()
    index.apply(rows(0, 10))
    index.close_writer()
    index.apply(rows(10, 12))
    index.commit()
    assert total(index) == 2
    index.close()


def test_a_second_writer_is_refused_by_name(tmp_path: Path) -> None:
    first, second = QueryIndex(tmp_path / "search"), QueryIndex(tmp_path / "search")
    first.open()
    first.apply(rows(0, 3))
    first.commit()
    first.mark(1)
    assert second.open() == 1
    with pytest.raises(HomeInUseError, match="another process"):
        second.apply(rows(3, 4))
    first.close()
    second.close()


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    directory = tmp_path / "search"
    index = QueryIndex(directory)
    index.open()
    index.apply(rows(0, 20))
    index.commit()
    index.apply([(track_id, None) for track_id, _ in rows(0, 3)])
    index.commit()
    index.mark(7)
    index.close()
    assert is_whole(directory)
    segments = [path for path in directory.iterdir() if path.suffix not in {".json", ".lock"}]
    assert {path.suffix for path in segments} >= {".idx", ".term", ".store", ".pos", ".fast", ".del"}
    for path in segments:
        data = path.read_bytes()
        # What follows the body is tantivy's footer: versions, the checksum, a length and a mark.
        body_bytes = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        places = {*range(0, body_bytes, max(1, body_bytes // 9)), len(data) - 1, len(data) - 5}
        for place in places:
            path.write_bytes(data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :])
            assert not is_whole(directory), (path.suffix, place)
        path.write_bytes(data)
    assert is_whole(directory)
    assert read_marker(directory).sequence == 7


def test_a_directory_that_is_a_link_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "song.flac").write_bytes(b"fLaC")
    (tmp_path / "search").symlink_to(precious)
    index = QueryIndex(tmp_path / "search")
    assert index.open() is None
    index.close()
    assert (precious / "song.flac").read_bytes() == b"fLaC"
    assert not (tmp_path / "search").is_symlink()
    assert (tmp_path / "search").stat().st_mode & 0o777 == 0o700


CHILD = """
import sys
sys.path.insert(0, sys.argv[2])
import trio
from pathlib import Path
from conftest import Shelf
from storage.kv import LevelKv
from storage.library.search import SearchIndex

async def main():
    home = Path(sys.argv[1])
    shelf = Shelf(store=LevelKv(home / "meta"))
    index = SearchIndex(home / "search", shelf.catalog)
    start = (await shelf.catalog.stat()).releases
    async with trio.open_nursery() as nursery:
        await nursery.start(index.run)
        for number in range(start, start + 100_000):
            await shelf.add(f"r{number}", f"Song {number}a", f"Song {number}b")
            if number % 7 == 3:
                await shelf.catalog.remove((await shelf.catalog.newest_releases(limit=1)).items[0].release_id)
            print(number, flush=True)

trio.run(main)
"""


def kill_while_adding(home: Path, rounds: int) -> None:
    """Kill a process that adds and indexes, again and again, and check after each time."""
    for each in range(rounds):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(home), str(Path(__file__).parent)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        for _ in range(3):
            assert child.stdout.readline()
        time.sleep(0.05 + 0.037 * (each % 7))
        os.kill(child.pid, signal.SIGKILL)
        child.stdout.close()
        child.wait()
        trio.run(check_after_kill, home)


async def check_after_kill(home: Path) -> None:
    store = LevelKv(home / "meta")
    shelf = Shelf(store=store)
    index = SearchIndex(home / "search", shelf.catalog)
    known = {key for key, _ in await shelf.catalog._tables.tracks.scan(limit=100_000)}
    assert (await shelf.catalog.stat()).tracks == len(known) > 0
    async with trio.open_nursery() as nursery:
        await nursery.start(index.run)
        with trio.fail_after(20):
            await index.wait_current()
        page = await index.search("", limit=100)
        assert page.total == len(known)
        assert {hit.track.track_id for hit in page.hits} <= known
        assert await shelf.catalog.pending(limit=1) == []
        nursery.cancel_scope.cancel()
    await store.close()


def test_after_a_kill_the_index_and_the_catalogue_agree(tmp_path: Path) -> None:
    kill_while_adding(tmp_path, 2)


@pytest.mark.slow
def test_after_many_kills_the_index_and_the_catalogue_agree(tmp_path: Path) -> None:
    kill_while_adding(tmp_path, 60)
