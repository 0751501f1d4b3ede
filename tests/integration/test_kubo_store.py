"""Blocks in a Kubo node: what happens when that node dies, hangs, refuses, or loses what it had."""

from __future__ import annotations

import os
import signal
from contextlib import asynccontextmanager

import pytest
import trio

from marina.cid import DAG_CBOR, RAW, cid_of, cid_text
from marina.dagcbor import Link, encode
from storage.blocks.embedded import EmbeddedBlockStore
from storage.errors import BlockDamagedError, BlockNotFoundError, DiskFullError, StorageError
from storage.kubo import rpc as rpc_module
from storage.kubo.address import parse_address
from storage.kubo.errors import KuboAwayError, KuboError
from storage.kubo.rpc import KuboRpc
from storage.kubo.store import KuboBlockStore
from storage.kv import LevelKv
from storage.quota import Quota
from storage.repo import Repo
from tests.contract.test_block_store import make_rendition
from tests.support.kubo import running_kubo
from tests.support.odd_kubo import OddKubo

MIB = 1024 * 1024


@pytest.fixture
def kubo(tmp_path):
    with running_kubo(tmp_path, rpc_port=_free_port()) as daemon:
        yield daemon


def _free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@asynccontextmanager
async def store_at(folder, url):
    kv = LevelKv(folder / "meta")
    rpc = KuboRpc(parse_address(url))
    store = KuboBlockStore(kv=kv, directory=folder / "blobs", rpc=rpc, quota=Quota(64 * MIB))
    try:
        await store.open()
        yield store
    finally:
        await store.close()
        await kv.close()


def forget_recent(store):
    store._engine._recent = type(store._engine._recent)()


def pins_of(kubo):
    return set((kubo.rpc("pin/ls", type="direct") or {}).get("Keys") or {})


async def test_what_was_stored_is_there_after_kill_and_restart_of_both(kubo, tmp_path):
    layout, segments, _ = make_rendition(3 * MIB)
    async with store_at(tmp_path, kubo.rpc_url) as store:
        await store.declare(layout)
        await store.put_segments(layout.root, list(enumerate(segments)))
        await store.flush(layout.root)
        kubo.kill()
        kubo.start()
        forget_recent(store)
        assert await store.get_segments(layout.root, range(len(segments))) == segments
    kubo.kill()
    kubo.start()
    async with store_at(tmp_path, kubo.rpc_url) as store:
        assert await store.have(layout.root) == frozenset(range(len(segments)))
        assert await store.get(layout.cid(3)) == segments[3]


async def test_the_node_itself_serves_the_whole_file_and_its_collector_leaves_it(kubo, tmp_path):
    layout, segments, _ = make_rendition(1 * MIB)
    async with store_at(tmp_path, kubo.rpc_url) as store:
        await store.declare(layout)
        await store.put_segments(layout.root, list(enumerate(segments)))
        kubo.rpc("repo/gc")
        export = rpc_bytes(kubo, "cat", cid_text(layout.root))
        assert export == b"".join(segments)


async def test_a_kill_in_the_middle_of_many_puts_acknowledges_nothing_that_is_lost(kubo, tmp_path):
    layout, segments, _ = make_rendition(24 * MIB)
    acknowledged = []
    async with store_at(tmp_path, kubo.rpc_url) as store:
        await store.declare(layout)

        caught = []

        async def put():
            for start in range(0, len(segments), 8):
                group = list(enumerate(segments))[start : start + 8]
                try:
                    await store.put_segments(layout.root, group)
                except KuboAwayError as err:
                    caught.append(str(err))
                    return
                await store.flush(layout.root)
                acknowledged.extend(index for index, _ in group)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(put)
            while len(acknowledged) < 24:
                await trio.sleep(0.002)
            os.kill(kubo.pid, signal.SIGKILL)
        assert "start it" in caught[0]
        assert await store.have(layout.root) == frozenset(acknowledged)
        kubo.kill()
        kubo.start()
        await trio.sleep(rpc_module.AWAY_S)
        forget_recent(store)
        for index in acknowledged:
            assert await store.get(layout.cid(index)) == segments[index]
        await store.put_segments(layout.root, list(enumerate(segments)))
        assert await store.have(layout.root) == frozenset(range(len(segments)))


async def test_a_hung_node_blocks_neither_what_is_cached_nor_a_caller_who_gives_up(
    kubo, tmp_path, monkeypatch
):
    monkeypatch.setattr(rpc_module, "READ_S", 1.0)
    layout, segments, _ = make_rendition(1 * MIB)
    manifest = os.urandom(2000)
    async with store_at(tmp_path, kubo.rpc_url) as store:
        await store.put(cid_of(manifest, DAG_CBOR), manifest)
        await store.declare(layout)
        await store.put_segments(layout.root, list(enumerate(segments)))
        forget_recent(store)
        assert await store.get(layout.cid(0)) == segments[0]
        os.kill(kubo.pid, signal.SIGSTOP)
        try:
            with trio.fail_after(0.5):
                assert await store.get(layout.cid(0)) == segments[0]
                assert await store.get(cid_of(manifest, DAG_CBOR)) == manifest
                assert await store.layout(layout.root) == layout
            with trio.move_on_after(0.2) as patience:
                await store.get(layout.cid(1))
            assert patience.cancelled_caught
            with trio.fail_after(5), pytest.raises(KuboAwayError):
                await store.get(layout.cid(1))
            with trio.fail_after(0.5), pytest.raises(KuboAwayError):
                await store.get(layout.cid(2))  # nobody waits twice for the same silence
            assert await store.have(layout.root) == frozenset(range(len(segments)))
        finally:
            os.kill(kubo.pid, signal.SIGCONT)
        await trio.sleep(rpc_module.AWAY_S)
        assert await store.get(layout.cid(1)) == segments[1]


async def test_what_is_deleted_while_the_node_is_away_is_removed_there_later(kubo, tmp_path):
    layout, segments, tree = make_rendition(1 * MIB)
    other = os.urandom(5000)
    async with store_at(tmp_path, kubo.rpc_url) as store:
        await store.put(cid_of(other), other)
        await store.declare(layout)
        await store.put_segments(layout.root, list(enumerate(segments)))
        assert len(pins_of(kubo)) == len(segments) + len(tree.nodes) + 1
        kubo.kill()
        assert await store.delete(layout.root)
    kubo.start()
    async with store_at(tmp_path, kubo.rpc_url) as store:
        await store._upkeep()
        assert pins_of(kubo) == {cid_text(cid_of(other))}
        await store.declare(layout)
        assert await store.have(layout.root) == frozenset()
        assert await store.get(cid_of(other)) == other


async def test_a_block_that_another_rendition_still_names_stays(kubo, tmp_path):
    data = os.urandom(3000)
    async with store_at(tmp_path, kubo.rpc_url) as store:
        await store._engine._rubbish.doubt([cid_of(data)])
        await store.put(cid_of(data), data)
        await store._upkeep()
        assert pins_of(kubo) == {cid_text(cid_of(data))}


async def test_blocks_that_somebody_removed_from_the_node_are_found_missing(kubo, tmp_path):
    layout, segments, _ = make_rendition(1 * MIB)
    async with store_at(tmp_path, kubo.rpc_url) as store:
        await store.declare(layout)
        await store.put_segments(layout.root, list(enumerate(segments)))
        await store.flush(layout.root)
        name = cid_text(layout.cid(2))
        kubo.rpc("pin/rm", arg=name, recursive="false")
        kubo.rpc("block/rm", arg=name)
        forget_recent(store)
        with pytest.raises(BlockDamagedError):
            await store.get(layout.cid(2))
        assert 2 not in await store.have(layout.root)
        with pytest.raises(BlockNotFoundError):
            await store.get(layout.cid(2))
        results = [each async for each in Repo(store).verify()]
        assert results[-1].is_done
        await store.put_segments(layout.root, [(2, segments[2])])
        assert await store.get(layout.cid(2)) == segments[2]


async def test_a_home_whose_blocks_are_elsewhere_is_refused_with_what_to_do(kubo, tmp_path):
    data = os.urandom(100)
    async with store_at(tmp_path, kubo.rpc_url) as store:
        await store.put(cid_of(data), data)
    kv = LevelKv(tmp_path / "meta")
    try:
        store = EmbeddedBlockStore(kv=kv, directory=tmp_path / "blobs", quota=Quota(MIB))
        with pytest.raises(StorageError, match="marina repo move embedded"):
            await store.open()
    finally:
        await kv.close()


async def test_a_node_that_fails_or_is_full_says_so_and_nothing_counts_as_stored(tmp_path):
    layout, _, _ = make_rendition(100_000)
    with OddKubo() as odd:
        async with store_at(tmp_path, odd.url) as store:
            data = os.urandom(5000)
            cases = [
                (500, "pebble: it broke", KuboError, "it broke"),
                (500, "open /x/put-1: no space left on device", DiskFullError, "free some space"),
                (403, "403 - Access denied", KuboError, "--token-file"),
            ]
            for status, message, kind, words in cases:
                odd.answer = (status, message)
                with pytest.raises(kind, match=words):
                    await store.put(cid_of(data), data)
                with pytest.raises(kind, match=words):
                    await store.declare(layout)
                assert not await store.has(cid_of(data))
                assert await store.layout(layout.root) is None
                assert (await store.stat()).blocks == 0


async def test_a_node_that_sends_without_end_is_stopped(tmp_path):
    with OddKubo() as odd:
        rpc = KuboRpc(parse_address(odd.url))
        odd.endless = True
        with pytest.raises(KuboError, match="something else"):
            await rpc.load(cid_of(b"x"))
        odd.endless, odd.redirect = False, "http://192.0.2.1/"
        with pytest.raises(KuboError):
            await rpc.load(cid_of(b"x"))
        await rpc.close()


def rpc_bytes(kubo, path, arg):
    import httpx

    answer = httpx.post(f"{kubo.rpc_url}/api/v0/{path}", params={"arg": arg, "offline": "true"}, timeout=20)
    assert answer.status_code == 200, answer.text
    return answer.content


async def test_what_a_tree_that_is_pinned_there_needs_stays_when_this_store_lets_go_of_it(kubo, tmp_path):
    leaf = os.urandom(5000)
    tree = encode({"part": Link(cid_of(leaf))})
    root = cid_of(tree, DAG_CBOR)
    async with store_at(tmp_path, kubo.rpc_url) as store:
        await store.put_many({cid_of(leaf): leaf, root: tree})
        rpc = KuboRpc(parse_address(kubo.rpc_url))
        await rpc.pin_tree(root)
        await rpc.close()
        for cid in (cid_of(leaf), root):
            assert await store.delete(cid)
        assert rpc_bytes(kubo, "block/get", cid_text(root)) == tree
        assert rpc_bytes(kubo, "block/get", cid_text(cid_of(leaf))) == leaf
        assert not pins_of(kubo)


async def test_bytes_that_are_kept_under_another_codec_stay(kubo, tmp_path):
    data = encode({"large": os.urandom(20_000)})
    async with store_at(tmp_path, kubo.rpc_url) as store:
        for codec in (RAW, DAG_CBOR):
            await store.put(cid_of(data, codec), data)
        assert await store.delete(cid_of(data, RAW))
        await store._upkeep()
        forget_recent(store)
        assert await store.get(cid_of(data, DAG_CBOR)) == data
        assert pins_of(kubo) == {cid_text(cid_of(data))}
