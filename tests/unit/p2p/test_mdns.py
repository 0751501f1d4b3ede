import pytest
import trio
from zeroconf import EventLoopBlocked, Zeroconf

from marina.clock import SystemClock
from marina.errors import MalformedError, NetworkError
from p2p.mdns import SERVICE_TYPE, LanDiscovery, read_neighbour
from p2p.peerid import peer_id_from_seed
from tests.support.peers import seed

ONE, TWO = (peer_id_from_seed(seed(name)) for name in ("one", "two"))


def test_the_service_is_our_own_so_that_ipfs_nodes_are_not_dialled():
    assert SERVICE_TYPE == "_marina._udp.local."


def test_a_neighbour_is_read_from_its_records():
    text = f"/ip4/192.168.1.5/tcp/4001/p2p/{ONE}"
    neighbour = read_neighbour({b"dnsaddr": text.encode(), b"other": b"x"}, 5.0)
    assert (neighbour.peer, neighbour.addresses) == (ONE, (text,))


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {b"dnsaddr": None},
        {b"dnsaddr": b"\xff\xfe"},
        {b"dnsaddr": f"/ip4/203.0.113.7/udp/4001/p2p/{ONE}".encode()},
        {b"dnsaddr": f"/ip4/8.8.8.8/tcp/4001/p2p/{ONE}".encode()},
        {b"dnsaddr": b"/ip4/192.168.1.5/tcp/4001"},
        {b"dnsaddr": b"/ip4/192.168.1.5/tcp/4001/p2p/nonsense"},
        {
            b"dnsaddr": f"/ip4/192.168.1.5/tcp/4001/p2p/{ONE}".encode(),
            b"dnsaddr1": f"/ip4/192.168.1.5/tcp/4001/p2p/{TWO}".encode(),
        },
    ],
)
def test_records_without_one_peer_at_a_local_address_are_refused(properties):
    with pytest.raises(MalformedError):
        read_neighbour(properties, 0.0)


async def test_two_nodes_find_each_other_and_notice_a_goodbye():
    def node(peer, port):
        return LanDiscovery(
            peer=peer,
            listen_addrs=lambda: [f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}"],
            clock=SystemClock(),
            interfaces=["127.0.0.1"],
        )

    one, two = node(ONE, 4001), node(TWO, 4002)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        async with trio.open_nursery() as visit:
            await visit.start(two.run)
            with trio.fail_after(10):
                while TWO not in {each.peer for each in one.neighbours()}:
                    await one.wait_for_change()
                while ONE not in {each.peer for each in two.neighbours()}:
                    await two.wait_for_change()
            assert [each.addresses for each in one.neighbours()] == [(f"/ip4/127.0.0.1/tcp/4002/p2p/{TWO}",)]
            visit.cancel_scope.cancel()
        with trio.fail_after(5):
            while one.neighbours():
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("failure", [OSError(101, "Network is unreachable"), EventLoopBlocked("no answer")])
async def test_a_network_that_fails_under_discovery_is_one_clear_error(monkeypatch, failure):
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(Zeroconf, "register_service", fail)
    peer = peer_id_from_seed(seed("a"))
    lan = LanDiscovery(
        peer=peer,
        listen_addrs=lambda: [f"/ip4/127.0.0.1/tcp/4001/p2p/{peer}"],
        clock=SystemClock(),
        interfaces=["127.0.0.1"],
    )
    with pytest.raises(NetworkError, match="local network"):
        await lan.run()
