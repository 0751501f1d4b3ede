"""Gossip between real hosts: 200 of 200 messages, validators, rules of our own messages."""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from marina.clock import SystemClock
from p2p.gossip import Gossip, GossipConfig, Verdict
from p2p.wire.gossip import MESSAGE_BYTES_MAX
from tests.support.peers import make_host

TOPIC = "/marina/test/1"


def well_formed(author, data: bytes) -> Verdict:
    if data.startswith(b"late"):
        return Verdict.IGNORE
    return Verdict.ACCEPT if data.startswith(b"m") else Verdict.REJECT


def anything(author, data: bytes) -> Verdict:
    return Verdict.ACCEPT


@asynccontextmanager
async def swarm(count: int, *, links: int = 3, validators=None, config: GossipConfig | None = None):
    """Nodes with gossip that joined one topic; each dials the ``links`` before it."""
    hosts = [make_host(f"gossip{i}") for i in range(count)]
    clock = SystemClock()
    nodes = [Gossip(host=host, clock=clock, config=config) for host in hosts]
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        inboxes = []
        for index, (host, node) in enumerate(zip(hosts, nodes, strict=True)):
            await nursery.start(host.run)
            await nursery.start(node.run)
            validate = validators[index] if validators else well_formed
            inboxes.append(await stack.enter_async_context(node.join(TOPIC, validate)))
        for index, host in enumerate(hosts):
            for other in hosts[max(0, index - links) : index]:
                await host.dial(other.peer_id, other.listen_addrs)
        with trio.fail_after(10):
            while not all(len(node.neighbours(TOPIC)) >= min(links, count - 1) for node in nodes):
                await trio.sleep(0.05)
        yield hosts, nodes, inboxes
        nursery.cancel_scope.cancel()


async def take(inbox, count: int, timeout_s: float) -> list[bytes]:
    """Return what arrives until ``count`` messages are there or time is up."""
    got: list[bytes] = []
    with trio.move_on_after(timeout_s):
        while len(got) < count:
            got.append((await inbox.receive()).data)
    return got


async def test_two_hundred_messages_in_a_row_reach_all_of_ten_nodes():
    async with swarm(10) as (_, nodes, inboxes):
        sent = [b"m%d" % i for i in range(200)]
        results: dict[int, list[bytes]] = {}

        async def read(index: int) -> None:
            results[index] = await take(inboxes[index], 200, 40)

        async with trio.open_nursery() as nursery:
            for index in range(10):
                nursery.start_soon(read, index)
            for data in sent:
                await nodes[0].publish(TOPIC, data)
        assert {index: len(set(got)) for index, got in results.items()} == dict.fromkeys(range(10), 200)
        assert all(sorted(got) == sorted(sent) for got in results.values())


async def test_a_message_names_its_author_behind_a_forwarder():
    async with swarm(3, links=1) as (hosts, nodes, inboxes):
        await nodes[0].publish(TOPIC, b"m hello")
        with trio.fail_after(5):
            message = await inboxes[2].receive()
        assert (message.author, message.data) == (hosts[0].peer_id, b"m hello")


async def test_a_message_against_the_rules_reaches_nobody_and_costs_its_sender():
    async with swarm(3, links=1, validators=[anything, well_formed, well_formed]) as (hosts, nodes, inboxes):
        await nodes[0].publish(TOPIC, b"nonsense")
        await nodes[0].publish(TOPIC, b"late news")
        await nodes[0].publish(TOPIC, b"m fine")
        assert await take(inboxes[2], 2, 2) == [b"m fine"]
        assert nodes[1].score(hosts[0].peer_id, TOPIC) < nodes[0].score(hosts[1].peer_id, TOPIC)
        assert hosts[1].scores.score(hosts[0].peer_id).penalty > 0


async def test_a_node_does_not_publish_what_others_would_reject():
    async with swarm(1, links=0) as (_, (node,), _):
        with pytest.raises(ValueError, match="rules"):
            await node.publish(TOPIC, b"nonsense")
        with pytest.raises(ValueError, match="not joined"):
            await node.publish("/marina/other/1", b"m")
        with pytest.raises(ValueError, match="at most"):
            await node.publish(TOPIC, b"m" * (MESSAGE_BYTES_MAX + 1))
        with pytest.raises(ValueError, match="joined already"):
            async with node.join(TOPIC, well_formed):
                pass


async def test_who_left_a_topic_hears_no_more_and_others_go_on():
    async with swarm(3, links=2) as (_, nodes, inboxes):
        other = "/marina/test/2"
        async with nodes[0].join(other, anything), nodes[1].join(other, anything) as inbox:
            await trio.sleep(0.3)
            await nodes[0].publish(other, b"1")
            assert await take(inbox, 1, 3) == [b"1"]
        await nodes[0].publish(TOPIC, b"m still here")
        assert await take(inboxes[2], 1, 3) == [b"m still here"]


async def test_a_node_that_connects_before_gossip_runs_takes_part():
    one, two = make_host("early1"), make_host("early2")
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        await one.dial(two.peer_id, two.listen_addrs)
        first, second = (Gossip(host=host, clock=SystemClock()) for host in (one, two))
        await nursery.start(first.run)
        await nursery.start(second.run)
        async with first.join(TOPIC, anything), second.join(TOPIC, anything) as inbox:
            with trio.fail_after(5):
                while not first.neighbours(TOPIC):
                    await trio.sleep(0.05)
            await first.publish(TOPIC, b"hello")
            assert await take(inbox, 1, 3) == [b"hello"]
        nursery.cancel_scope.cancel()
