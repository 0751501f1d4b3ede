"""Search over the swarm on real hosts."""

import math
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio

from marina.cid import DAG_CBOR, cid_of
from marina.clock import SystemClock
from marina.codec import encode
from marina.errors import UsageError
from p2p.denylist import Denylist, DenySet
from p2p.framing import pack
from p2p.search.client import SwarmSearch
from p2p.search.server import SearchServer, SearchServerConfig
from p2p.wire.search import HITS_MAX, PROTOCOL, ReleaseHit
from tests.support.peers import make_host


def hit(name: str) -> ReleaseHit:
    return ReleaseHit(cid_of(name.encode(), DAG_CBOR), b"a" * 20, b"s" * 65)


class Index:
    """Finds what its titles contain; or fails, or hangs."""

    def __init__(self, *titles: str, error=None, hangs=False) -> None:
        self.titles = titles
        self.error = error
        self.hangs = hangs
        self.asked = 0

    async def search(self, query: str, limit: int):
        self.asked += 1
        if self.error:
            raise self.error
        if self.hangs:
            await trio.sleep(math.inf)
        return [hit(title) for title in self.titles if query in title] * 2


@asynccontextmanager
async def swarm(*indexes: Index, denylist: Denylist | None = None, **settings):
    """A listener connected to one node for each index."""
    listener = make_host("listener")
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.run)
        hosts = []
        for number, index in enumerate(indexes):
            host = make_host(f"index{number}")
            server = SearchServer(
                host=host,
                search=index.search,
                denylist=denylist or Denylist(),
                clock=SystemClock(),
                config=SearchServerConfig(**settings),
            )
            await nursery.start(host.run)
            await nursery.start(server.run)
            await listener.dial(host.peer_id, host.listen_addrs)
            hosts.append(host)
        yield listener, hosts
        nursery.cancel_scope.cancel()


async def find(listener, query: str, **options):
    async with SwarmSearch(host=listener, rng=Random(1)).search(query, **options) as hits:
        return [each async for each in hits]


async def test_every_hit_names_its_peer_and_says_whether_it_is_new():
    async with swarm(Index("blue song", "blue note"), Index("blue song")) as (listener, hosts):
        found = await find(listener, "blue")
        assert {(each.peer, each.hit) for each in found} == {
            (hosts[0].peer_id, hit("blue song")),
            (hosts[0].peer_id, hit("blue note")),
            (hosts[1].peer_id, hit("blue song")),
        }
        assert sum(each.is_new for each in found) == 2
        assert len(await find(listener, "blue", limit=1)) == 2
        assert await find(listener, "green") == []


async def test_slow_failing_and_silent_peers_do_not_hold_up_the_others():
    indexes = Index("a song"), Index(hangs=True), Index(error=UsageError("what?"))
    async with swarm(*indexes, search_s=30.0) as (listener, hosts):
        mute = make_host("mute")
        async with trio.open_nursery() as nursery:
            await nursery.start(mute.run)
            await listener.dial(mute.peer_id, mute.listen_addrs)
            with trio.fail_after(3):
                found = await find(listener, "song", peer_timeout_s=0.5)
            nursery.cancel_scope.cancel()
        assert [each.peer for each in found] == [hosts[0].peer_id]


async def test_a_server_answers_busy_when_it_is_asked_too_often_or_is_too_slow():
    index, slow = Index("a song"), Index(hangs=True)
    async with swarm(index, slow, queries_burst=3.0, queries_per_s=0.01, search_s=0.1) as (listener, _):
        answers = [len(await find(listener, "song")) for _ in range(5)]
        assert answers == [1, 1, 1, 0, 0]
        assert index.asked == 3


async def test_denied_releases_are_not_named():
    denylist = Denylist(entries=DenySet(cids=frozenset({cid_of(b"blue song", DAG_CBOR)})))
    async with swarm(Index("blue song", "blue note"), denylist=denylist) as (listener, _):
        assert [each.hit for each in await find(listener, "blue")] == [hit("blue note")]


async def test_leaving_early_ends_the_search():
    async with swarm(*[Index("song") for _ in range(3)]) as (listener, _):
        async with SwarmSearch(host=listener, rng=Random(1)).search("song") as hits:
            async for _ in hits:
                break
        with pytest.raises(ValueError, match="query"):
            await find(listener, "x" * 600)


@pytest.mark.parametrize(
    "reply",
    [
        b"\xff" * 40,
        encode([0, [[b"c" * 36, b"a" * 20, b"s"]]]),
        encode([1, [[cid_of(b"x"), b"a" * 20, b"s"]]]),
        encode([0, [[cid_of(b"x"), b"a" * 20, b"s"]] * 2]),
        encode([0, [[cid_of(b"%d" % i), b"a" * 20, b"s"] for i in range(9)]]),
        encode([0, [[cid_of(b"x"), b"a" * 20, b"s" * 300]]]),
    ],
)
async def test_a_lying_answer_is_dropped_and_costs_its_peer(reply):
    liar, listener = make_host("liar"), make_host("listener")

    async def lie(stream) -> None:
        await stream.read_some(100)
        await stream.write(pack(reply))

    async with trio.open_nursery() as nursery:
        await nursery.start(liar.run)
        await nursery.start(listener.run)
        liar.serve(PROTOCOL, lie, max_streams_per_peer=2)
        await listener.dial(liar.peer_id, liar.listen_addrs)
        assert await find(listener, "song", limit=5) == []
        assert listener.scores.score(liar.peer_id).penalty > 0
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "request_", [b"", encode(["", 5]), encode(["x", 0]), encode(["x", HITS_MAX + 1]), encode(["a\x00b", 5])]
)
async def test_a_malformed_query_is_not_searched_for(request_):
    index = Index("song")
    async with swarm(index) as (listener, (host,)):
        stream = await listener.open_stream(host.peer_id, PROTOCOL)
        await stream.write(pack(request_))
        with trio.fail_after(5):
            while not host.scores.score(listener.peer_id).penalty:
                await trio.sleep(0.02)
        assert index.asked == 0
        await stream.reset()
