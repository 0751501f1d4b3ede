import math

import pytest
import trio

from marina.cid import cid_of
from marina.clock import ManualClock
from marina.errors import NetworkError, NotFoundError
from marina.ids import PeerId
from p2p.kad_rpc import Known
from p2p.providers import HaveIndex, HintPath, Origin, Provider, ProviderFinder, Query

ROOT, OTHER = cid_of(b"root"), cid_of(b"other")
ME = PeerId("me")


class Path:
    """Names peers after pauses; then fails, hangs or ends."""

    def __init__(self, origin: Origin, *answers, timeout_s: float = 5.0, error=None, hangs=False) -> None:
        self.origin = origin
        self.timeout_s = timeout_s
        self.answers = answers
        self.error = error
        self.hangs = hangs

    async def search(self, query, found) -> None:
        for pause_s, peer in self.answers:
            await trio.sleep(pause_s)
            await found(Provider(PeerId(peer), (), self.origin))
        if self.error:
            raise self.error
        if self.hangs:
            await trio.sleep(math.inf)


async def collect(finder: ProviderFinder, query: Query | None = None, **options) -> list[tuple[str, Origin]]:
    async with finder.find(query or Query((ROOT,)), **options) as providers:
        return [(each.peer, each.origin) async for each in providers]


def test_one_path_alone_is_not_enough():
    for paths in ([Path(Origin.DHT)], [Path(Origin.DHT), Path(Origin.DHT)], []):
        with pytest.raises(ValueError, match="two independent"):
            ProviderFinder(paths=paths, own=ME)


async def test_connected_peers_come_first_and_every_peer_once(autojump_clock):
    finder = ProviderFinder(
        paths=[
            Path(Origin.DHT, (0.0, "a"), (0.1, "c")),
            Path(Origin.CONNECTED, (0.2, "b")),
            Path(Origin.GOSSIP, (0.05, "b"), (0.3, "a"), (0.0, "me")),
        ],
        own=ME,
    )
    assert await collect(finder) == [
        ("b", Origin.CONNECTED),
        ("a", Origin.DHT),
        ("c", Origin.DHT),
    ]


async def test_a_failing_and_a_hanging_path_do_not_stop_the_others(autojump_clock):
    finder = ProviderFinder(
        paths=[
            Path(Origin.DHT, error=NetworkError("no peers")),
            Path(Origin.HINT, (0.0, "a"), hangs=True, timeout_s=1.0),
            Path(Origin.SESSION, (2.0, "b")),
        ],
        own=ME,
    )
    assert [peer for peer, _ in await collect(finder)] == ["a", "b"]
    assert trio.current_time() < 3


async def test_the_deadline_and_the_limit_end_the_search(autojump_clock):
    endless = [Path(Origin.DHT, *[(0.5, f"d{i}") for i in range(99)], timeout_s=99), Path(Origin.HINT)]
    assert len(await collect(ProviderFinder(paths=endless, own=ME), timeout_s=2.2)) == 4
    assert len(await collect(ProviderFinder(paths=endless, own=ME), timeout_s=60, limit=3)) == 3
    assert trio.current_time() < 5


async def test_leaving_early_stops_the_paths_and_errors_stay_themselves(autojump_clock):
    finder = ProviderFinder(
        paths=[Path(Origin.DHT, (0.0, "a"), (50.0, "b"), timeout_s=99), Path(Origin.HINT)], own=ME
    )
    async with finder.find(Query((ROOT,)), timeout_s=99) as providers:
        async for _ in providers:
            break
    with pytest.raises(NotFoundError):
        async with finder.find(Query((ROOT,)), timeout_s=99):
            raise NotFoundError("nothing")
    assert trio.current_time() < 1


async def test_banned_peers_are_not_offered(autojump_clock):
    finder = ProviderFinder(
        paths=[Path(Origin.DHT, (0, "bad"), (0, "good")), Path(Origin.HINT)],
        own=ME,
        is_banned=lambda peer: peer == "bad",
    )
    assert [peer for peer, _ in await collect(finder)] == ["good"]


async def test_hints_of_the_query_are_a_path(autojump_clock):
    finder = ProviderFinder(paths=[HintPath(), Path(Origin.DHT)], own=ME)
    query = Query((ROOT,), (Known(PeerId("h"), ("/ip4/10.0.0.1/tcp/1",)),))
    assert await collect(finder, query) == [("h", Origin.HINT)]


def test_the_have_index_is_bounded_ages_and_forgets():
    clock = ManualClock()
    index = HaveIndex(clock=clock, roots_max=100, peers_per_root_max=3, age_s=60)
    for i in range(5):
        clock.advance(1)
        index.add(ROOT, PeerId(f"p{i}"))
    clock.advance(1)
    index.add(OTHER, PeerId("p3"), ["/ip4/10.0.0.1/tcp/1"])
    assert [known.peer for known in index.peers([ROOT, OTHER])] == ["p3", "p4", "p2"]
    index.remove(ROOT, PeerId("p4"))
    assert [known.peer for known in index.peers([ROOT])] == ["p3", "p2"]
    clock.advance(62)
    assert index.peers([ROOT]) == []
    for i in range(500):
        index.add(cid_of(b"%d" % i), PeerId("p"))
    assert len(index) == 100
