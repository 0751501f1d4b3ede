"""The DHT on real hosts: its own protocol id, lookups, announcements, limits."""

from contextlib import asynccontextmanager

import pytest
import trio

from marina.cid import DAG_CBOR, cid_of
from marina.clock import SystemClock
from p2p.errors import StreamRefusedError
from p2p.host import Host
from p2p.kad import Dht, DhtConfig
from p2p.peerid import to_libp2p
from p2p.repairs_kad import LIBRARY_PROTOCOL, PROTOCOL
from tests.support.peers import make_host

ROOT = cid_of(b"a release", DAG_CBOR)


@asynccontextmanager
async def network(count: int, *, star: bool = True, **settings):
    """Hosts with a DHT each, all connected to the first (or each to the one before)."""
    async with trio.open_nursery() as nursery:
        hosts = [make_host(f"dht{i}") for i in range(count)]
        dhts = [Dht(host=host, clock=SystemClock(), config=DhtConfig(**settings)) for host in hosts]
        for host, dht in zip(hosts, dhts, strict=True):
            await nursery.start(host.run)
            await nursery.start(dht.run)
        for index, host in enumerate(hosts[1:], start=1):
            hub = hosts[0] if star else hosts[index - 1]
            await host.dial(hub.peer_id, hub.listen_addrs)
        yield hosts, dhts
        nursery.cancel_scope.cancel()


async def until(condition, timeout_s: float = 10.0) -> None:
    with trio.fail_after(timeout_s):
        while not condition():
            await trio.sleep(0.05)


async def protocols_of(host: Host, other: Host) -> list[str]:
    identity = to_libp2p(other.peer_id)
    await until(lambda: host.raw.get_peerstore().has_peer(identity))
    await until(lambda: bool(host.raw.get_peerstore().get_protocols(identity)))
    return host.raw.get_peerstore().get_protocols(identity)


async def test_a_node_announces_marinas_dht_and_never_that_of_ipfs():
    async with network(2) as ((one, two), _):
        protocols = await protocols_of(two, one)
        assert str(PROTOCOL) == "/marina/kad/1.0.0"
        assert str(PROTOCOL) in protocols
        assert not [each for each in protocols if each.startswith("/ipfs/kad")]
        with pytest.raises(StreamRefusedError):
            await two.open_stream(one.peer_id, str(LIBRARY_PROTOCOL))
        await (await two.open_stream(one.peer_id, str(PROTOCOL))).close()


async def test_a_client_answers_nobody():
    async with network(2, is_server=False) as ((one, two), (dht, _)):
        assert str(PROTOCOL) not in await protocols_of(two, one)
        with pytest.raises(StreamRefusedError):
            await two.open_stream(one.peer_id, str(PROTOCOL))
        await trio.sleep(0.3)
        assert dht.table_size == 0


async def test_providers_are_found_by_nodes_that_never_met_them():
    async with network(6) as (hosts, dhts):
        await until(lambda: all(dht.table_size >= 1 for dht in dhts) and dhts[0].table_size == 5)
        assert await dhts[1].provide(ROOT) >= 1
        assert await dhts[2].provide(ROOT) >= 1
        found = await dhts[5].find_providers(ROOT)
        assert {each.peer for each in found} == {hosts[1].peer_id, hosts[2].peer_id}
        known = next(each for each in found if each.peer == hosts[1].peer_id)
        await hosts[5].dial(known.peer, known.addresses)
        # A node that provides it itself still learns of the others.
        assert {each.peer for each in await dhts[1].find_providers(ROOT)} == {hosts[2].peer_id}


async def test_a_lookup_ends_at_its_limit_and_its_deadline():
    async with network(4) as (_, dhts):
        await until(lambda: dhts[0].table_size == 3)
        for dht in dhts[1:3]:
            await dht.provide(ROOT)
        assert len(await dhts[3].find_providers(ROOT, limit=1)) == 1
        assert await dhts[3].find_providers(cid_of(b"nobody has this"), timeout_s=5.0) == []


async def test_a_lookup_walks_along_a_chain_of_nodes():
    async with network(5, star=False) as (hosts, dhts):
        await until(lambda: all(dht.table_size >= 1 for dht in dhts))
        assert await dhts[4].provide(ROOT) >= 2
        found = await dhts[0].find_providers(ROOT)
        assert [each.peer for each in found] == [hosts[4].peer_id]


async def test_nobody_to_tell_is_reported_as_zero():
    async with network(1) as (_, (dht,)):
        assert await dht.provide(ROOT, timeout_s=2.0) == 0
        assert await dht.find_providers(ROOT, timeout_s=2.0) == []


async def test_values_without_a_validator_are_refused():
    async with network(2) as (_, (one, two)):
        await until(lambda: two.table_size == 1)
        with pytest.raises(Exception, match=r"(?i)namespace|key|record"):
            await two._kad.put_value("plain", b"value")
        assert one._kad.value_store.size() == 0
