"""What every key-value store must do, run over LevelDB and its memory twin."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from storage.errors import HomeInUseError, StorageError
from storage.kv import LevelKv, MemoryKv, Table


@pytest.fixture(params=["memory", "level"])
async def kv(request, tmp_path):
    store = MemoryKv() if request.param == "memory" else LevelKv(tmp_path / "meta")
    yield store
    await store.close()


async def test_a_batch_is_applied_as_a_whole(kv):
    await kv.write([(b"a", b"1"), (b"b", b"2"), (b"c", b"3")])
    await kv.write([(b"b", None), (b"c", b"33"), (b"nowhere", None)])
    assert await kv.get_many([b"a", b"b", b"c"]) == [b"1", None, b"33"]
    assert await kv.get(b"b") is None


async def test_the_last_write_to_a_key_in_a_batch_wins(kv):
    await kv.write([(b"a", b"1"), (b"a", None), (b"b", None), (b"b", b"2")])
    assert await kv.get_many([b"a", b"b"]) == [None, b"2"]


async def test_a_scan_stays_within_its_prefix_and_pages(kv):
    await kv.write([(b"p" + bytes((i,)), b"v") for i in range(10)] + [(b"o", b""), (b"q", b"")])
    first = await kv.scan(b"p", limit=4)
    assert [key for key, _ in first] == [b"p" + bytes((i,)) for i in range(4)]
    rest = await kv.scan(b"p", after=first[-1][0], limit=100)
    assert [key[1] for key, _ in rest] == list(range(4, 10))
    assert await kv.scan(b"p", after=rest[-1][0]) == []
    assert await kv.scan(b"x") == []


async def test_a_backward_scan_starts_at_the_last_key_of_its_prefix(kv):
    await kv.write([(b"p" + bytes((i,)), b"v") for i in range(10)] + [(b"o", b""), (b"q", b"")])
    last = await kv.scan_back(b"p", limit=3)
    assert [key[1] for key, _ in last] == [9, 8, 7]
    earlier = await kv.scan_back(b"p", before=last[-1][0])
    assert [key[1] for key, _ in earlier] == [6, 5, 4, 3, 2, 1, 0]
    assert [key for key, _ in await kv.scan_back(b"", limit=1)] == [b"q"]


async def test_a_backward_scan_knows_prefixes_of_all_ones(kv):
    await kv.write([(b"\xff\xff", b"1"), (b"\xff\x01", b"2"), (b"\xfe", b"3")])
    assert [key for key, _ in await kv.scan_back(b"\xff")] == [b"\xff\xff", b"\xff\x01"]


async def test_tables_do_not_see_one_another(kv):
    one, two = Table(kv, "one"), Table(kv, "one-more")
    await one.put(b"k", b"1")
    await two.write({b"k": b"2", b"l": b"3"})
    assert await one.scan() == [(b"k", b"1")]
    assert await two.scan_back() == [(b"l", b"3"), (b"k", b"2")]
    await two.delete(b"k")
    assert await one.get_many([b"k", b"l"]) == [b"1", None]


async def test_compaction_keeps_what_is_there(kv):
    await kv.write([(bytes((i,)), bytes(1000)) for i in range(200)])
    await kv.write([(bytes((i,)), None) for i in range(100)])
    await kv.compact(b"")
    assert len(await kv.scan(b"")) == 100


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ops=st.lists(st.tuples(st.binary(max_size=3), st.none() | st.binary(max_size=3)), max_size=30),
    prefix=st.binary(max_size=1),
    edge=st.binary(max_size=3),
    limit=st.integers(1, 8),
)
@example(ops=[(b"p", b"alone, and equal to the prefix")], prefix=b"p", edge=b"", limit=1)
async def test_both_stores_agree_on_every_scan(tmp_path, ops, prefix, edge, limit):
    level, memory = LevelKv(tmp_path / "agree"), MemoryKv()
    try:
        await level.write([(key, None) for key, _ in await level.scan(b"", limit=10_000)])
        for store in (level, memory):
            await store.write(ops)
        for store in (level, memory):
            assert len(await store.scan(prefix, limit=limit)) <= limit
        assert await level.scan(prefix, after=edge, limit=limit) == (
            await memory.scan(prefix, after=edge, limit=limit)
        )
        assert await level.scan_back(prefix, before=edge, limit=limit) == (
            await memory.scan_back(prefix, before=edge, limit=limit)
        )
    finally:
        await level.close()


async def test_values_survive_closing(tmp_path):
    store = LevelKv(tmp_path / "meta")
    await store.write([(b"k", b"v")])
    await store.close()
    await store.close()
    with pytest.raises(StorageError):
        await store.get(b"k")
    with pytest.raises(StorageError):
        await store.write([(b"k", b"w")])
    again = LevelKv(tmp_path / "meta")
    assert await again.get(b"k") == b"v"
    await again.close()


async def test_a_second_opener_is_told_that_the_database_is_in_use(tmp_path):
    store = LevelKv(tmp_path / "meta")
    with pytest.raises(HomeInUseError):
        LevelKv(tmp_path / "meta")
    await store.close()
