"""A stock Helia fetches from a Marina node over bitswap and over the gateway, and a Marina node from it."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from random import Random

import pytest
import trio

from marina.cid import cid_of, cid_text, digest_of, parse_cid
from marina.ids import PeerId
from p2p import addresses
from storage.blocks.memory import MemoryBlockStore
from storage.content.layout import SegmentPlan
from storage.content.unixfs import Leaf, build_file, rendition_file
from tests.support.gateways import gateway_over
from tests.support.peers_installed import helia as start_helia
from tests.support.swapping import Swapper, swapping
from tools.bench.helia import Helia

KIB, MIB = 1024, 1024 * 1024


@pytest.fixture
def helia() -> Iterator[Helia]:
    with start_helia() as node:
        yield node


async def ask(helia: Helia, call: str, **parameters):
    return await trio.to_thread.run_sync(lambda: helia.ask(call=call, **parameters))


def facts_of(data: bytes):
    return (len(data), hashlib.sha256(data).hexdigest())


async def rendition(store, size_bytes: int):
    """Store a whole rendition and return (root, layout, bytes)."""
    plan = SegmentPlan(size_bytes)
    segments = [Random(number).randbytes(size) for number, size in enumerate(plan.lengths())]
    layout, _ = rendition_file(size_bytes, b"".join(digest_of(cid_of(each)) for each in segments))
    await store.declare(layout)
    await store.put_segments(layout.root, list(enumerate(segments)))
    return layout, b"".join(segments)


async def test_helia_fetches_a_block_a_segment_and_a_whole_rendition_over_bitswap(helia: Helia) -> None:
    await trio.to_thread.run_sync(helia.node)
    artist = Swapper("artist")
    async with swapping(artist):
        await ask(helia, "connect", address=artist.host.listen_addrs[0])
        block = os.urandom(MIB)
        await artist.store.put(cid_of(block), block)
        got = await ask(helia, "block", cid=cid_text(cid_of(block)))
        assert (got["bytes"], got["sha256"]) == facts_of(block)
        layout, whole = await rendition(artist.store, 5 * MIB + 17)
        span = layout.plan.ciphertext(3)
        got = await ask(helia, "block", cid=cid_text(layout.cid(3)))
        assert (got["bytes"], got["sha256"]) == facts_of(whole[span.start : span.end])
        got = await ask(helia, "cat", cid=cid_text(layout.root))
        assert (got["bytes"], got["sha256"]) == facts_of(whole)


async def test_marina_fetches_what_only_a_helia_has(helia: Helia, tmp_path) -> None:
    peer, listens = await trio.to_thread.run_sync(helia.node)
    listener = Swapper("listener")
    async with swapping(listener):
        for each in listens:
            await listener.host.dial(PeerId(peer), (each,))
        assert addresses.parse(listens[0]).peer == peer
        data = os.urandom(MIB)
        put = await ask(helia, "put", data=base64.b64encode(data).decode())
        found, missing = await listener.fetch([cid_of(data)], PeerId(peer))
        assert put["cid"] == cid_text(cid_of(data))
        assert (found, missing) == ({cid_of(data): data}, [])
        file = os.urandom(3 * MIB)
        (tmp_path / "file").write_bytes(file)
        added = await ask(helia, "add", file=str(tmp_path / "file"), chunk_bytes=256 * KIB, links=1024)
        leaves = [cid_of(file[start : start + 256 * KIB]) for start in range(0, len(file), 256 * KIB)]
        root = parse_cid(added["cid"])
        found, missing = await listener.fetch([root, *leaves], PeerId(peer))
        assert not missing
        assert b"".join(found[leaf] for leaf in leaves) == file


@pytest.mark.parametrize(
    ("size_bytes", "leaf_bytes", "links"),
    [
        (1, 256 * KIB, 1024), (256 * KIB, 256 * KIB, 1024), (256 * KIB + 1, 256 * KIB, 1024),
        (3 * MIB + 5, 256 * KIB, 4), (174 * 256 * KIB + 1, 256 * KIB, 174), (9 * MIB + 1, MIB, 1024),
    ],
)  # fmt: skip
async def test_roots_of_fixed_leaves_are_heliases(helia, tmp_path, size_bytes, leaf_bytes, links) -> None:
    await trio.to_thread.run_sync(helia.node)
    data = Random(size_bytes).randbytes(size_bytes)
    (tmp_path / "file").write_bytes(data)
    added = await ask(helia, "add", file=str(tmp_path / "file"), chunk_bytes=leaf_bytes, links=links)
    pieces = [data[start : start + leaf_bytes] for start in range(0, size_bytes, leaf_bytes)]
    tree = build_file([Leaf(cid_of(each), len(each), len(each)) for each in pieces], links_max=links)
    assert cid_text(tree.root) == added["cid"]


async def test_helia_reads_a_rendition_over_http_alone(helia: Helia) -> None:
    store = MemoryBlockStore(1 << 30)
    layout, whole = await rendition(store, 5 * MIB + 17)
    async with gateway_over(store) as url:
        await trio.to_thread.run_sync(helia.http, url)
        got = await ask(helia, "cat", cid=cid_text(layout.root))
        assert (got["bytes"], got["sha256"]) == facts_of(whole)


async def test_verified_fetch_reads_a_rendition_and_a_part_of_it(helia: Helia) -> None:
    store = MemoryBlockStore(1 << 30)
    layout, whole = await rendition(store, 3 * MIB + 17)
    async with gateway_over(store) as url:
        name = f"ipfs://{cid_text(layout.root)}"
        got = await ask(helia, "fetch", gateway=url, url=name)
        assert (got["status"], got["bytes"], got["sha256"]) == (200, *facts_of(whole))
        got = await ask(helia, "fetch", gateway=url, url=name, headers={"Range": "bytes=100000-299999"})
        assert (got["status"], got["bytes"], got["sha256"]) == (206, *facts_of(whole[100_000:300_000]))
