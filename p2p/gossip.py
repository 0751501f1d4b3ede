"""Gossip: short signed messages to everybody who joined a topic, paced so that none is lost.

Every topic has a validator, for messages of others and of this node. What is lost all the same (a peer
was away) is repaired by set synchronisation and by lookups, never by gossip itself.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio
from libp2p.peer.id import ID
from libp2p.tools.anyio_service import background_trio_service

from marina.clock import Clock
from marina.ids import PeerId
from marina.metrics import Counter, Registry
from p2p.gossip_guard import PROTOCOL, GossipConfig, GuardedPubsub, GuardedRouter, Rules, Validate, Verdict
from p2p.host import Host
from p2p.peerid import from_libp2p, to_libp2p
from p2p.wire.gossip import MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.p2p")

__all__ = ["Gossip", "GossipConfig", "GossipMessage", "Validate", "Verdict"]

_BANNED_SCORE = -1000.0


@dataclass(frozen=True, slots=True)
class GossipMessage:
    """An accepted message.

    Attributes:
        topic: where it came.
        author: the peer that signed it; not necessarily a neighbour.
        data: at most 64 KiB, as the topic's validator accepted it.
    """

    topic: str
    author: PeerId
    data: bytes


class Gossip:
    """This node's part of gossip.

    ``run`` first, then ``join`` and ``publish``. Messages of this node wait in a bounded outbox.
    """

    def __init__(
        self,
        *,
        host: Host,
        clock: Clock,
        config: GossipConfig | None = None,
        registry: Registry | None = None,
    ) -> None:
        self._host = host
        self._config = config or GossipConfig()
        if not 0 < self._config.pacing_s < math.inf:
            raise ValueError("gossip is paced: messages without a pause between them are lost")
        self._messages = Counter(
            "marina_p2p_gossip_messages_total",
            "Gossip messages by what became of them",
            ["outcome"],
            registry=registry if registry is not None else Registry(),
        )
        self._rules = Rules(
            clock=clock,
            config=self._config,
            deliver=self._deliver,
            misbehaved=self._misbehaved,
            counted=lambda outcome: self._messages.labels(outcome=outcome).inc(),
        )
        self._readers: dict[str, trio.MemorySendChannel[GossipMessage]] = {}
        self._outbox_send, self._outbox = trio.open_memory_channel[tuple[str, bytes]](self._config.outbox)
        self._pubsub: GuardedPubsub | None = None
        self._router: GuardedRouter | None = None

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Exchange messages until cancelled; the host is running."""
        # Made here and not before: the library's connection hook waits for a running service.
        self._router = GuardedRouter(self._rules, self._application_score)
        self._pubsub = GuardedPubsub(self._host.raw, self._router, self._rules)
        try:
            async with (
                background_trio_service(self._pubsub),
                background_trio_service(self._router),
                trio.open_nursery() as nursery,
            ):
                await self._pubsub.event_handle_peer_queue_started.wait()
                for peer in self._host.connected_peers():
                    nursery.start_soon(self._pubsub.ensure_peer_stream, to_libp2p(peer))
                task_status.started()
                async for topic, data in self._outbox:
                    await self._pubsub.publish(topic, data)
                    await trio.sleep(self._config.pacing_s)
        finally:
            self._pubsub = self._router = None

    @asynccontextmanager
    async def join(
        self, topic: str, validate: Validate
    ) -> AsyncIterator[trio.MemoryReceiveChannel[GossipMessage]]:
        """Take part in a topic while the block runs and receive what others (and this node) say.

        The channel is bounded: a reader that falls 512 messages behind loses messages, counted.

        Raises:
            ValueError: the topic is joined already, or this node is in as many as its limit allows.
        """
        if topic in self._readers or len(self._readers) >= self._config.topics_max:
            raise ValueError(f"gossip topic {topic} is joined already, or there are too many topics")
        pubsub = self._running()
        send, receive = trio.open_memory_channel[GossipMessage](self._config.inbox)
        self._readers[topic] = send
        self._rules.validators[topic] = validate
        try:
            await pubsub.subscribe(topic)
            async with send, receive:
                yield receive
        finally:
            del self._readers[topic]
            del self._rules.validators[topic]
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
                if self._pubsub is pubsub:
                    await pubsub.unsubscribe(topic)

    async def publish(self, topic: str, data: bytes) -> None:
        """Queue a message of a joined topic; waits while the outbox is full.

        Raises:
            ValueError: the topic is not joined, the message is longer than 64 KiB or its topic's own
                validator would reject it.
        """
        validate = self._rules.validators.get(topic)
        if validate is None:
            raise ValueError(f"gossip topic {topic} is not joined")
        if len(data) > MESSAGE_BYTES_MAX:
            raise ValueError(f"a gossip message has at most {MESSAGE_BYTES_MAX} bytes, not {len(data)}")
        if validate(self._host.peer_id, data) is not Verdict.ACCEPT:
            raise ValueError(f"the message does not follow the rules of {topic}")
        await self._outbox_send.send((topic, data))

    def neighbours(self, topic: str) -> list[PeerId]:
        """Return the peers of this node's mesh of a topic."""
        mesh = self._router.mesh if self._router is not None else {}
        return [from_libp2p(peer) for peer in mesh.get(topic, ())]

    def score(self, peer: PeerId, topic: str) -> float:
        """Return a neighbour's gossip score in a topic, 0 while not running."""
        if self._router is None:
            return 0.0
        return float(self._router.scorer.score(to_libp2p(peer), [topic]))

    def is_graylisted(self, peer: PeerId) -> bool:
        """Return whether a peer's messages are dropped unread."""
        return self._router is not None and self._router.is_out(to_libp2p(peer))

    def _running(self) -> GuardedPubsub:
        if self._pubsub is None:
            raise ValueError("gossip is not running")
        return self._pubsub

    def _deliver(self, topic: str, author: PeerId, data: bytes) -> None:
        reader = self._readers.get(topic)
        if reader is None:
            return
        try:
            reader.send_nowait(GossipMessage(topic, author, data))
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            self._messages.labels(outcome="reader_too_slow").inc()

    def _misbehaved(self, peer: PeerId, rule: str) -> None:
        self._host.supervisor.misbehaved(peer, PROTOCOL, rule)

    def _application_score(self, peer: ID) -> float:
        peer_id = from_libp2p(peer)
        if self._host.scores.is_banned(peer_id):
            return _BANNED_SCORE
        return -self._host.scores.score(peer_id).penalty
