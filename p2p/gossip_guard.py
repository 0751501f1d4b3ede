"""py-libp2p's gossip with a guard at its doors.

What 0.8.1 leaves open and is closed here: a message of several topics passes the validator of none that
is missing; forged signatures cost the forwarder nothing; a graylisted peer's messages are still
processed; IHAVE and GRAFT for invented topics grow tables without end; an exception while a message is
checked ends the whole service; addresses are never found, so the colocation score never counts.
Source: design, security §5.2 and threat T12.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from libp2p.abc import IHost
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.score import ScoreParams, TopicScoreParams
from libp2p.pubsub.validators import signature_validator

from marina.clock import Clock
from marina.errors import MalformedError
from marina.ids import PeerId
from marina.ratelimit import TokenBucket
from p2p import addresses
from p2p.limits import subnet_of
from p2p.peerid import from_libp2p
from p2p.wire.gossip import MESSAGE_BYTES_MAX

log = logging.getLogger("marina.p2p")

PROTOCOL = "/meshsub/1.1.0"
IHAVE_IDS_MAX = 500
_BUCKETS_MAX = 4096
_NO_TOPIC = ""


class Verdict(Enum):
    """What a validator says of a message."""

    ACCEPT = "accept"
    IGNORE = "ignore"
    """Not wanted here, but nobody's fault: out of time, over its author's rate."""
    REJECT = "reject"
    """Against the rules: whoever forwarded it did not check it."""


Validate = Callable[[PeerId, bytes], Verdict]
"""(author, message) → verdict; must not wait and must not raise."""


@dataclass(frozen=True, slots=True)
class GossipConfig:
    """Behaviour of gossip.

    The thresholds are the design's starting values (security §5.2); weights and decays were tuned in
    tests/hostile/test_discovery_hostile.py: seven invalid messages graylist a stranger, nine the best
    neighbour.

    Attributes:
        degree, degree_low, degree_high: peers of a topic's mesh: wanted, fewest, most.
        heartbeat_s: upkeep of meshes and decay of scores.
        pacing_s: between two messages of this node; the library's queue to a peer holds 32.
        outbox: messages of this node that may wait.
        inbox: messages of one topic kept for a slow reader; more are dropped and counted.
        forwarder_rate_per_s, forwarder_burst: messages taken from one neighbour.
        author_rate_per_s, author_burst: messages taken of one author, whoever brings them.
        subscriptions_per_peer_max: topics one neighbour may subscribe to.
        topics_max: topics this node joins.
        colocated_max: neighbours of one /24 or /48 that cost nothing; 127.0.0.1 is exempt.
    """

    degree: int = 6
    degree_low: int = 4
    degree_high: int = 12
    heartbeat_s: float = 1.0
    pacing_s: float = 0.03
    outbox: int = 512
    inbox: int = 512
    forwarder_rate_per_s: float = 200.0
    forwarder_burst: float = 400.0
    author_rate_per_s: float = 40.0
    author_burst: float = 256.0
    subscriptions_per_peer_max: int = 512
    topics_max: int = 512
    colocated_max: int = 8


def score_params(config: GossipConfig, application: Callable[[ID], float]) -> ScoreParams:
    """Return the scores P1 to P7 and their thresholds; decays are per heartbeat of one second."""
    return ScoreParams(
        p1_time_in_mesh=TopicScoreParams(weight=0.5, cap=2.0, decay=1.0),
        p2_first_message_deliveries=TopicScoreParams(weight=0.5, cap=20.0, decay=0.98),
        p3_mesh_message_deliveries=TopicScoreParams(weight=0.1, cap=50.0, decay=0.95),
        p4_invalid_messages=TopicScoreParams(weight=12.0, cap=100.0, decay=0.98),
        p5_behavior_penalty_weight=1.0,
        p5_behavior_penalty_decay=0.95,
        p5_behavior_penalty_threshold=10.0,
        p6_appl_slack_weight=1.0,
        p6_appl_slack_decay=0.9,
        p7_ip_colocation_weight=2.0,
        p7_ip_colocation_threshold=config.colocated_max,
        gossip_threshold=-10.0,
        publish_threshold=-50.0,
        graylist_threshold=-80.0,
        accept_px_threshold=10.0,
        app_specific_score_fn=application,
    )


@dataclass(slots=True)
class Rules:
    """What the guard checks against and whom it tells; shared by router and service.

    Attributes:
        validators: one for each joined topic.
        deliver: is handed (topic, author, message) of everything accepted.
        misbehaved: is told (peer, rule) of every rejected message.
        counted: is told the outcome word of every message, for metrics.
    """

    clock: Clock
    config: GossipConfig
    deliver: Callable[[str, PeerId, bytes], None]
    misbehaved: Callable[[PeerId, str], None]
    counted: Callable[[str], None]
    validators: dict[str, Validate] = field(default_factory=dict)
    _buckets: OrderedDict[tuple[str, bytes], TokenBucket] = field(default_factory=OrderedDict)

    def within_rate(self, kind: str, peer: bytes, rate_per_s: float, burst: float) -> bool:
        """Count a message of a forwarder or author; False when it has sent too many."""
        now_s = self.clock.monotonic_s()
        bucket = self._buckets.get((kind, peer))
        if bucket is None:
            if len(self._buckets) >= _BUCKETS_MAX:
                self._buckets.popitem(last=False)
            bucket = self._buckets[kind, peer] = TokenBucket(rate_per_s, burst, now_s)
        self._buckets.move_to_end((kind, peer))
        return bucket.try_take(1.0, now_s)


class GuardedRouter(GossipSub):  # type: ignore[misc]
    """The library's mesh, blind to topics that this node has not joined."""

    def __init__(self, rules: Rules, application: Callable[[ID], float]) -> None:
        config = rules.config
        super().__init__(
            protocols=[PROTOCOL],
            degree=config.degree,
            degree_low=config.degree_low,
            degree_high=config.degree_high,
            heartbeat_interval=config.heartbeat_s,
            heartbeat_initial_delay=min(0.1, config.heartbeat_s),
            score_params=score_params(config, application),
            adaptive_gossip_enabled=False,
            max_messages_per_topic_per_second=2 * config.forwarder_rate_per_s,
            min_mesh_diversity_ips=1,
            prune_back_off=10,
            max_pending_messages_per_peer=32,
        )
        self._rules = rules

    def is_out(self, peer: ID) -> bool:
        """Return whether a peer's score is below the graylist threshold."""
        topics = list(self.scorer.invalid_messages.get(peer, ())) or [_NO_TOPIC]
        return bool(self.scorer.is_graylisted(peer, topics))

    async def handle_rpc(self, rpc: rpc_pb2.RPC, sender_peer_id: ID) -> None:
        """Handle the control part of a neighbour's message, unless it is graylisted."""
        if not self.is_out(sender_peer_id):
            await super().handle_rpc(rpc, sender_peer_id)

    async def handle_ihave(self, ihave_msg: rpc_pb2.ControlIHave, sender_peer_id: ID) -> None:
        """Ask for announced messages of joined topics, up to 500 at once."""
        if ihave_msg.topicID not in self._rules.validators:
            self.scorer.penalize_behavior(sender_peer_id, 1.0)
            return
        if len(ihave_msg.messageIDs) > IHAVE_IDS_MAX:
            self.scorer.penalize_ihave_spam(sender_peer_id, 5.0)
            del ihave_msg.messageIDs[IHAVE_IDS_MAX:]
        await super().handle_ihave(ihave_msg, sender_peer_id)

    async def handle_graft(self, graft_msg: rpc_pb2.ControlGraft, sender_peer_id: ID) -> None:
        """Take a neighbour into a mesh of a joined topic."""
        if graft_msg.topicID not in self._rules.validators:
            self.scorer.penalize_behavior(sender_peer_id, 1.0)
            return
        await super().handle_graft(graft_msg, sender_peer_id)

    def _track_peer_ip(self, peer_id: ID) -> None:
        host: IHost = self.pubsub.host
        for connection in host.get_network().get_connections(peer_id):
            for address in connection.get_transport_addresses():
                try:
                    subnet = subnet_of(addresses.parse(str(address)).host)
                except MalformedError:
                    continue
                if subnet is not None:
                    self.scorer.add_peer_ip(peer_id, subnet)
                return


class GuardedPubsub(Pubsub):  # type: ignore[misc]
    """The library's service with one way in for messages, ours or others'."""

    def __init__(self, host: IHost, router: GuardedRouter, rules: Rules) -> None:
        super().__init__(
            host,
            router,
            strict_signing=True,
            seen_ttl=120,
            max_subscriptions_per_rpc=2 * rules.config.subscriptions_per_peer_max,
            max_subscriptions_per_peer=rules.config.subscriptions_per_peer_max,
        )
        self._rules = rules
        self._mesh = router

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        """Check a message, hand it to this node and pass it on. Never raises."""
        try:
            outcome = await self._push(msg_forwarder, msg)
        except Exception as err:
            log.debug("a gossip message could not be read", exc_info=err)
            outcome = self._reject(msg_forwarder, _NO_TOPIC, "unreadable message")
        self._rules.counted(outcome)

    def notify_subscriptions(self, publish_message: rpc_pb2.Message) -> None:
        """Hand an accepted message to this node."""
        author = from_libp2p(ID(publish_message.from_id))
        self._rules.deliver(publish_message.topicIDs[0], author, publish_message.data)

    async def _push(self, forwarder: ID, msg: rpc_pb2.Message) -> str:
        is_own = forwarder == self.my_id
        if len(msg.topicIDs) != 1:
            return self._reject(forwarder, _NO_TOPIC, "a message has exactly one topic")
        topic = msg.topicIDs[0]
        validate = self._rules.validators.get(topic)
        if validate is None:
            return "unknown_topic"
        if not is_own:
            dropped = self._drop_early(forwarder, msg, topic)
            if dropped:
                return dropped
        if len(msg.data) > MESSAGE_BYTES_MAX:
            return self._reject(forwarder, topic, "a message has at most 64 KiB")
        if not signature_validator(msg):
            return self._reject(forwarder, topic, "the author's signature does not fit")
        author = ID(msg.from_id)
        if author == self.my_id and not is_own:
            return "own_echo"
        verdict = validate(from_libp2p(author), msg.data)
        if verdict is Verdict.REJECT:
            return self._reject(forwarder, topic, "the topic's validator rejects the message")
        self._mark_msg_seen(msg)
        if verdict is Verdict.IGNORE or not (is_own or self._author_within_rate(msg.from_id)):
            return "ignored"
        self._mesh.scorer.on_first_delivery(forwarder, topic)
        self.notify_subscriptions(msg)
        await self._mesh.publish(forwarder, msg)
        return "accepted"

    def _drop_early(self, forwarder: ID, msg: rpc_pb2.Message, topic: str) -> str:
        """Return why a message is not worth a signature check, "" when it is."""
        if self.is_peer_blacklisted(forwarder) or self._mesh.is_out(forwarder):
            return "graylisted"
        config = self._rules.config
        if not self._rules.within_rate(
            "forwarder", forwarder.to_bytes(), config.forwarder_rate_per_s, config.forwarder_burst
        ):
            self._mesh.scorer.penalize_behavior(forwarder, 1.0)
            return "over_rate"
        if self._is_msg_seen(msg):
            self._mesh.scorer.on_mesh_delivery(forwarder, topic)
            return "duplicate"
        return ""

    def _author_within_rate(self, author: bytes) -> bool:
        config = self._rules.config
        return self._rules.within_rate("author", author, config.author_rate_per_s, config.author_burst)

    def _reject(self, forwarder: ID, topic: str, rule: str) -> str:
        if forwarder != self.my_id:
            self._mesh.scorer.on_invalid_message(forwarder, topic)
            self._rules.misbehaved(from_libp2p(forwarder), rule)
        return "rejected"
