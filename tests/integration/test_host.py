"""Two or more real hosts on loopback: dialling, streams, admission, repairs of the library."""

import contextlib
import socket
import subprocess
import sys

import pytest
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from multiaddr import Multiaddr

from marina.errors import MalformedError
from p2p.errors import DialError, ListenError, PeerBannedError, PeerGoneError, StreamRefusedError
from p2p.events import PeerConnected, PeerDisconnected
from p2p.host import Host
from p2p.peerid import peer_id_from_seed, to_libp2p
from p2p.stream import MarinaStream
from tests.support.peers import make_host, running, seed

ECHO = "/test/echo/1.0.0"


async def echo(stream: MarinaStream) -> None:
    while data := await stream.read_some(65536):
        await stream.write(data)


async def round_trip(a: Host, b: Host, data: bytes = b"hello") -> bytes:
    async with await a.open_stream(b.peer_id, ECHO) as stream:
        await stream.write(data)
        return await stream.read_exact(len(data))


async def test_two_hosts_meet_talk_and_part() -> None:
    a, b = make_host("a"), make_host("b")
    b.serve(ECHO, echo, max_streams_per_peer=4)
    async with running(a, b), a.events() as events:
        with trio.fail_after(1):  # the library's connect() alone takes 250 ms
            await a.dial(b.peer_id, b.listen_addrs)
        assert await round_trip(a, b) == b"hello"
        event = await events.receive()
        assert isinstance(event, PeerConnected)
        assert (event.peer, event.is_inbound) == (b.peer_id, False)
        assert a.connected_peers() == [b.peer_id]
        await a.disconnect(b.peer_id)
        with trio.fail_after(2):
            assert await events.receive() == PeerDisconnected(b.peer_id)
        assert not a.is_connected(b.peer_id)
        with pytest.raises(PeerGoneError):
            await a.open_stream(b.peer_id, ECHO)


async def test_an_unknown_protocol_is_refused_and_the_connection_lives() -> None:
    a, b = make_host("a"), make_host("b")
    b.serve(ECHO, echo, max_streams_per_peer=4)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        with pytest.raises(StreamRefusedError):
            await a.open_stream(b.peer_id, "/test/none/1.0.0")
        assert await round_trip(a, b) == b"hello"


async def test_a_lazy_stream_says_at_the_first_read_that_its_protocol_is_unknown() -> None:
    a, b = make_host("a"), make_host("b")
    b.serve(ECHO, echo, max_streams_per_peer=4)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        refused = await a.open_stream(b.peer_id, "/test/none/1.0.0", is_lazy=True)
        await refused.write(b"a request that nobody understands")
        with pytest.raises(StreamRefusedError), trio.fail_after(2):
            await refused.read_some(100)
        await refused.reset()
        agreed = await a.open_stream(b.peer_id, ECHO, is_lazy=True)
        assert not agreed.is_agreed
        await agreed.write(b"hello")
        with trio.fail_after(2):
            assert await agreed.read_exact(5) == b"hello"
        assert agreed.is_agreed
        await agreed.close()


async def test_a_handler_that_raises_ends_its_stream_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    a, b, c = make_host("a"), make_host("b"), make_host("c")

    async def boom(stream: MarinaStream) -> None:
        await stream.read_exact(1)
        raise ZeroDivisionError("a defect of ours")

    async def group(stream: MarinaStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(boom, stream)

    b.serve("/test/boom/1.0.0", boom, max_streams_per_peer=4)
    b.serve("/test/group/1.0.0", group, max_streams_per_peer=4)
    b.serve(ECHO, echo, max_streams_per_peer=4)
    async with running(a, b, c):
        await a.dial(b.peer_id, b.listen_addrs)
        await c.dial(b.peer_id, b.listen_addrs)
        for protocol in ("/test/boom/1.0.0", "/test/group/1.0.0"):
            stream = await a.open_stream(b.peer_id, protocol)
            await stream.write(b"!")
            with pytest.raises(PeerGoneError), trio.fail_after(2):
                await stream.read_exact(1)
        assert await round_trip(a, b) == b"hello"
        assert await round_trip(c, b) == b"hello"
        assert not b.is_banned(a.peer_id)
    assert caplog.text.count("defect in a stream handler") == 2


async def test_a_negotiation_full_of_junk_leaves_the_node_standing() -> None:
    a, b = make_host("a"), make_host("b")
    b.serve(ECHO, echo, max_streams_per_peer=4)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        connection = a._swarm.connection_to(b.peer_id)
        for junk in (b"\xff" * 40, b"\x05\xff\xff\xff\xff\n", b"\x13/multistream/1.0.0\n\x03\xff\xfe\n", b""):
            raw = await connection.new_stream()
            await raw.write(junk)
            await raw.close()
        assert await round_trip(a, b) == b"hello"


async def test_dialling_races_addresses_and_says_when_none_answers() -> None:
    a, b = make_host("a"), make_host("b")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"/ip4/127.0.0.1/tcp/{closed.getsockname()[1]}"
        async with running(a, b):
            with pytest.raises(DialError):
                await a.dial(b.peer_id, [dead])
            # the library would now refuse this peer for 60 s
            await a.dial(b.peer_id, [dead, *b.listen_addrs, "nonsense"])
            assert a.is_connected(b.peer_id)


async def test_a_silent_address_does_not_hold_up_a_good_one() -> None:
    a, b = make_host("a"), make_host("b")
    async with running(a, b), trio.open_nursery() as nursery:
        silent, *_ = await nursery.start(
            lambda task_status: trio.serve_tcp(
                lambda stream: trio.sleep_forever(), 0, host="127.0.0.1", task_status=task_status
            )
        )
        port = silent.socket.getsockname()[1]
        with trio.fail_after(1.5):
            await a.dial(b.peer_id, [f"/ip4/127.0.0.1/tcp/{port}", *b.listen_addrs])
        with pytest.raises(DialError), trio.fail_after(2):
            await a.dial(make_host("x").peer_id, [f"/ip4/127.0.0.1/tcp/{port}"], timeout_s=0.3)
        nursery.cancel_scope.cancel()


async def test_somebody_else_at_the_address_is_not_taken_for_the_peer() -> None:
    a, b = make_host("a"), make_host("b")
    async with running(a, b):
        plain = [each.rsplit("/p2p/", 1)[0] for each in b.listen_addrs]
        with pytest.raises(DialError):
            await a.dial(make_host("expected").peer_id, plain)


async def test_own_and_forbidden_endpoints_are_never_dialled() -> None:
    a, b = make_host("a"), make_host("b")
    async with running(a, b):
        port = int(b.listen_addrs[0].split("/")[4])
        a.forbid_dial("127.0.0.1", port)
        for address in (*b.listen_addrs, f"/dns4/localhost/tcp/{port}", f"/ip4/127.0.0.2/tcp/{port}"):
            with pytest.raises(DialError):
                await a.dial(b.peer_id, [address])
        with pytest.raises(DialError):
            await a.dial(a.peer_id, a.listen_addrs)
        assert b.connected_peers() == []
        with pytest.raises(MalformedError):
            await a.dial("no peer", b.listen_addrs)  # type: ignore[arg-type]


async def test_a_taken_port_and_a_foreign_address_are_refused_with_a_sentence() -> None:
    a = make_host("a")
    async with running(a):
        port = a.listen_addrs[0].split("/")[4]
        for address, word in (
            (f"/ip4/127.0.0.1/tcp/{port}", "taken"),
            ("/ip4/203.0.113.7/tcp/45001", "cannot"),
            ("x", "use"),
        ):
            with pytest.raises(ExceptionGroup) as caught:
                async with running(make_host("b", listen_addrs=(address,))):
                    pass
            assert caught.group_contains(ListenError, match=word)


async def test_banned_peers_are_put_out_and_stay_out() -> None:
    a, b = make_host("a"), make_host("b")
    b.serve(ECHO, echo, max_streams_per_peer=4)
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        await b.ban(a.peer_id, 3600)
        await trio.sleep(0.3)
        assert b.connected_peers() == []
        with contextlib.suppress(DialError):
            await a.dial(b.peer_id, b.listen_addrs)
        await trio.sleep(0.3)
        assert b.connected_peers() == []
        with pytest.raises(PeerBannedError):
            await b.dial(a.peer_id, a.listen_addrs)


async def test_streams_of_one_peer_are_capped_per_protocol_and_others_are_served() -> None:
    a, b, c = make_host("a"), make_host("b"), make_host("c")
    b.serve(ECHO, echo, max_streams_per_peer=3)
    async with running(a, b, c):
        for host in (a, c):
            await host.dial(b.peer_id, b.listen_addrs)
        held = [await a.open_stream(b.peer_id, ECHO) for _ in range(3)]
        for stream in held:
            await stream.write(b"x")
            await stream.read_exact(1)
        with pytest.raises((PeerGoneError, StreamRefusedError)):
            await round_trip(a, b)
        assert await round_trip(c, b) == b"hello"
        await held[0].close()
        await trio.sleep(0.2)
        assert await round_trip(a, b) == b"hello"


async def test_connections_of_one_subnet_are_capped_and_an_honest_peer_gets_in() -> None:
    b = make_host("b", connections_per_subnet_max=2, listen_addrs=("/ip4/0.0.0.0/tcp/0",))
    a = make_host("a")
    async with running(a, b):
        port = int(b.listen_addrs[0].split("/")[4])
        held = []
        for number in range(6):
            sock = trio.socket.socket()
            await sock.bind((f"127.0.3.{number + 1}", 0))
            await sock.connect(("127.0.0.1", port))
            held.append(sock)
        await trio.sleep(0.1)
        closed = 0
        for sock in held:
            with trio.move_on_after(0.1):
                try:
                    while await sock.recv(100):
                        pass
                    closed += 1
                except OSError:
                    closed += 1
        assert closed == 4
        await a.dial(b.peer_id, [f"/ip4/127.0.0.1/tcp/{port}"])
        for sock in held:
            sock.close()


async def test_inbound_places_are_given_back() -> None:
    """The library's own limiter gives a place back only when the node stops."""
    b = make_host("b", connections_in_max=3, connections_out_max=3)
    async with running(b):
        for number in range(9):
            a = make_host(f"a{number}")
            async with running(a):
                await a.dial(b.peer_id, b.listen_addrs)
                await a.disconnect(b.peer_id)
            with trio.fail_after(2):
                while b.connected_peers():
                    await trio.sleep(0.01)


async def test_nobody_is_dialled_unasked() -> None:
    a, b = make_host("a"), make_host("b")
    async with running(a, b):
        a.raw.get_peerstore().add_addrs(to_libp2p(b.peer_id), [Multiaddr(b.listen_addrs[0])], 3600)
        await a._swarm.auto_connector.maybe_connect()
        await trio.sleep(0.2)
        assert a.connected_peers() == []
        # the library's own services may still ask for a peer, through our dialling
        with trio.fail_after(1):
            assert len(await a._swarm.dial_peer(to_libp2p(b.peer_id))) == 1


async def test_a_full_peer_store_keeps_our_own_key_and_connected_peers() -> None:
    """The library's own rule forgets this node's key first: it has no addresses."""
    a, b = make_host("a", peers_remembered_max=32), make_host("b")
    async with running(a, b):
        await a.dial(b.peer_id, b.listen_addrs)
        await trio.sleep(0.2)
        store = a.raw.get_peerstore()
        for number in range(100):
            stranger = to_libp2p(peer_id_from_seed(seed(str(number))))
            store.add_addrs(stranger, [Multiaddr("/ip4/8.8.8.8/tcp/1")], 3600)
        assert len(store.peer_ids()) <= 32
        assert store.privkey(to_libp2p(a.peer_id)) is not None
        assert to_libp2p(b.peer_id) in store.peer_ids()
        assert stranger in store.peer_ids()


async def test_only_noise_and_yamux_are_spoken() -> None:
    b = make_host("b")
    async with running(b):
        assert [str(p) for p in b._swarm.upgrader.security_multistream.transports] == ["/noise"]
        assert [str(p) for p in b._swarm.upgrader.muxer_multistream.transports] == ["/yamux/1.0.0"]


@pytest.mark.parametrize("is_lazy", [False, True])
async def test_a_stock_py_libp2p_host_can_talk_to_us_both_ways(is_lazy: bool) -> None:
    b = make_host("b")
    b.serve(ECHO, echo, max_streams_per_peer=4)
    stock = new_host(key_pair=create_new_key_pair(b"k" * 32))
    data = bytes(range(256)) * 8192

    async def stock_echo(stream: object) -> None:
        while got := await stream.read(65536):  # type: ignore[attr-defined]
            await stream.write(got)  # type: ignore[attr-defined]

    stock.set_stream_handler(ECHO, stock_echo)
    async with running(b), stock.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        stock_peer = stock.get_id()
        await b.dial(stock_peer.to_base58(), [str(each) for each in stock.get_addrs()])
        stream = await b.open_stream(stock_peer.to_base58(), ECHO, is_lazy=is_lazy)
        got = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.write, data)
            got += await stream.read_exact(len(data))
        assert got == data
        await stream.reset()
        back = await stock.new_stream((to_libp2p(b.peer_id)), [ECHO])
        await back.write(data[:200_000])
        answer = bytearray()
        while len(answer) < 200_000:
            answer += await back.read(65536)
        assert answer == data[:200_000]


async def test_a_stopped_process_is_noticed() -> None:
    """SIGSTOP: TCP alone would notice nothing for many minutes."""
    a = make_host("a", probe_interval_s=0.3, probe_timeout_s=0.5)
    code = (
        "import trio\nfrom tests.support.peers import make_host\n"
        "async def main():\n"
        "    host = make_host('stopped')\n"
        "    async with trio.open_nursery() as nursery:\n"
        "        await nursery.start(host.run)\n"
        "        print(host.listen_addrs[0], flush=True)\n"
        "trio.run(main)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        address = await trio.to_thread.run_sync(process.stdout.readline)
        peer = make_host("stopped").peer_id
        async with running(a):
            await a.dial(peer, [address.strip()])
            await trio.sleep(1.2)
            assert a.is_connected(peer)
            process.send_signal(19)
            with trio.fail_after(3):
                while a.is_connected(peer):
                    await trio.sleep(0.05)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
