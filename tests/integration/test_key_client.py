"""Keys from guardians on real hosts: found by their Ed25519 keys, asked over /marina/key/1.0.0."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from random import Random

import pytest
import trio

from marina.clock import SystemClock
from marina.errors import MalformedError
from node.keys.collector import Collector
from node.keys.evidence import Evidence
from node.keys.finding import HolderLine
from node.keys.quorum import QuorumCheck
from node.swarm import Swarm
from p2p.anchors import AnchorBook
from p2p.errors import PeerGoneError, PeerStalledError
from p2p.framing import FrameReader, pack
from p2p.key_client import KeyClient
from p2p.peerkey import peer_of_key
from p2p.providers import Origin, Provider, ProviderFinder
from p2p.wire.key import FRAME_BYTES_MAX, PROTOCOL, holder_cid
from storage.kv import MemoryKv, Table
from storage.private import PrivateStore
from tests.support.guardians import KEY, NAME, Guardian, Party, asker
from tests.support.peers import make_host, running
from tests.support.vaults import OpenVault


class Records:
    """A discovery path that knows who said that they hold what."""

    origin = Origin.DHT
    timeout_s = 3.0

    def __init__(self):
        self.known = {}
        self.searches = 0

    async def search(self, query, found):
        self.searches += 1
        await trio.lowlevel.checkpoint()
        for root in query.roots:
            if root in self.known:
                await found(self.known[root])


class Nothing(Records):
    origin = Origin.GOSSIP


@asynccontextmanager
async def network(tmp_path, *kinds):
    """Guardians of these kinds, and a listener that must find them."""
    clock, records = SystemClock(), Records()
    party = Party([Guardian(f"net{i}", clock, kind) for i, kind in enumerate(kinds)])
    hosts = [make_host(each.name) for each in party.guardians]

    async def answer(guardian, stream):
        reader = FrameReader(stream, header_bytes_max=FRAME_BYTES_MAX, frame_timeout_s=5)
        message = await reader.header(5)
        reply = await guardian.answer(message)
        await stream.write(pack(reply) if guardian.kind != "huge" else (1 << 20).to_bytes(4) + bytes(100))

    for host, guardian in zip(hosts, party.guardians, strict=True):
        host.serve(PROTOCOL, partial(answer, guardian), max_streams_per_peer=2)
    listener = make_host("key-listener")
    private = PrivateStore(kv=MemoryKv(), deks_path=tmp_path / "deks.bin", masters=OpenVault())
    await private.unlock()
    async with running(listener, *hosts):
        for host, guardian in zip(hosts, party.guardians, strict=True):
            place = Provider(host.peer_id, tuple(host.listen_addrs), Origin.DHT)
            records.known[holder_cid(guardian.device.public_key)] = place
        anchors = AnchorBook(table=Table(MemoryKv(), "anchors"), clock=clock)
        finder = ProviderFinder(paths=[records, Nothing()], own=listener.peer_id)
        swarm = Swarm(host=listener, anchors=anchors, finder=finder)
        line = HolderLine(host=listener, client=KeyClient(host=listener), swarm=swarm, finder=finder)
        collector = Collector(
            line=line, asker=asker("key-listener", clock.now_s() - 10), clock=clock, rng=Random(1),
            evidence=Evidence(private=private, clock=clock),
        )  # fmt: skip
        yield party, line, collector, records


async def test_guardians_are_found_by_their_keys_and_release_theirs(tmp_path):
    async with network(tmp_path, *["honest"] * 7) as (party, line, collector, records):
        found = await collector.collect(party.box(), NAME, licence_block=7)
        assert found.key == KEY
        assert records.searches >= 3
        assert all(line.is_near(each) for each in found.holders)
        for holder in found.holders:
            assert party.by_key[holder].last.body.peer == collector._asker.signer.public_key


async def test_of_seven_four_may_hang_or_talk_rubbish_and_the_key_still_comes(tmp_path):
    kinds = ("silent", "garbage", "gone", "huge", "honest", "honest", "honest")
    async with network(tmp_path, *kinds) as (party, _, collector, _records):
        with trio.fail_after(3.5):
            assert (await collector.collect(party.box(), NAME, licence_block=7)).key == KEY


async def test_who_announced_nothing_is_not_to_be_reached_in_time(tmp_path):
    async with network(tmp_path, "honest") as (party, line, _, records):
        records.known.clear()
        (guardian,) = party.guardians
        began_s = trio.current_time()
        with pytest.raises(PeerGoneError, match="not to be reached"):
            await line.ask(guardian.device.public_key, b"x", timeout_s=1.0)
        assert trio.current_time() - began_s < 2.0


async def test_a_record_that_names_another_peer_leads_nowhere(tmp_path):
    async with network(tmp_path, "honest", "honest") as (party, line, _, records):
        one, other = (each.device.public_key for each in party.guardians)
        records.known[holder_cid(one)] = records.known[holder_cid(other)]
        with pytest.raises(PeerGoneError):
            await line.ask(one, b"x", timeout_s=1.0)
        assert not line.is_near(one)


async def test_an_answer_beyond_the_frame_and_none_at_all_are_refused(tmp_path):
    async with network(tmp_path, "huge", "silent") as (party, line, _, _records):
        huge, silent = (each.device.public_key for each in party.guardians)
        check = QuorumCheck(line=line)
        assert (await check.ask(party.box(1), answer_s=0.5)).ready == 0
        client = line._client
        with pytest.raises(MalformedError, match="frame header"):
            await client.ask(peer_of_key(huge), pack_status(party), timeout_s=2)
        with pytest.raises(PeerStalledError):
            await client.ask(peer_of_key(silent), pack_status(party), timeout_s=0.2)


def pack_status(party):
    """Any message that a guardian takes."""
    from p2p.wire.key import StatusRequest, encode_status_request

    box = party.box(1)
    body = StatusRequest(bytes(32), bytes(16), box.chain_id, box.registry, box.cid[-32:])
    return encode_status_request(body, box.to_bytes())


class Own:
    """The guardian of the listener's own node."""

    def __init__(self) -> None:
        self.is_on, self.hangs = True, False

    async def answer(self, message, peer_key, origin):
        if self.hangs:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return message + b" " + peer_key[:1] + origin.encode()


async def test_a_nodes_own_guardian_is_asked_without_a_network_while_it_is_on(tmp_path):
    async with network(tmp_path, "honest") as (_party, line, collector, _):
        key = collector._asker.signer.public_key
        with pytest.raises(PeerGoneError, match="switched off"):
            await line.ask(key, b"x", timeout_s=1.0)
        line.own = Own()
        assert line.is_near(key)
        assert await line.ask(key, b"x", timeout_s=1.0) == b"x " + key[:1]
        line.own.hangs = True
        with pytest.raises(PeerStalledError):
            await line.ask(key, b"x", timeout_s=0.1)
        line.own.is_on = False
        with pytest.raises(PeerGoneError):
            await line.ask(key, b"x", timeout_s=0.1)
