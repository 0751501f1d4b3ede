"""An artist and operators on real hosts: offers, pledges, copies, audits, restarts, refusals."""

import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random

import pytest
import trio

from marina.cid import DAG_CBOR, Cid, cid_of
from marina.clock import SystemClock
from marina.errors import MalformedError, NetworkError
from marina.ids import Account, PeerId
from p2p.chunk.client import ChunkClient, Want
from p2p.chunk.server import ChunkServer
from p2p.denylist import DeniedError, Denylist, DenySet
from p2p.framing import pack
from p2p.host import Host
from p2p.peerkey import key_of_peer
from p2p.replication.audit import AuditedRoot, Auditor, ChunkProbe
from p2p.replication.campaigns import CampaignBook
from p2p.replication.client import Identity, PledgeClient, PledgeRefusedError
from p2p.replication.operator import Operator, OperatorConfig
from p2p.replication.planner import PlannerConfig, Stage
from p2p.replication.pledges import PledgeBook, PledgePolicy
from p2p.replication.service import OfferBook, ReplicationConfig, Replicator
from p2p.wire.pledge import PROTOCOL, Answer, Progress
from storage.kv import MemoryKv, Table
from tests.support.identities import identity
from tests.support.peers import MemorySegments, make_host

RELEASE = cid_of(b"a release", DAG_CBOR)
PARTS = {i: bytes([i]) * 5000 for i in range(40)}
ROOT = cid_of(b"a rendition")
AUDITED = AuditedRoot(
    ROOT, tuple(hashlib.sha256(part).digest() for part in PARTS.values()), (5000,) * len(PARTS)
)
SIZE = sum(map(len, PARTS.values()))
DAY = 86_400
POLICY = PledgePolicy(is_open=True, offered_bytes=10**9)
SOME = Denylist(entries=DenySet(accounts=frozenset({Account(b"\x99" * 20)})))


@dataclass
class Shelf:
    """An operator's store: fetches the one rendition from whoever asked, over the chunk protocol."""

    host: Host
    segments: MemorySegments = field(default_factory=lambda: MemorySegments({}, ROOT))
    free: int = 10**9
    fails: int = 0
    denies: bool = False
    manifests: str = "here"
    skip: frozenset[int] = frozenset()
    dropped: list[Cid] = field(default_factory=list)

    def free_bytes(self) -> int:
        return self.free

    async def check_denied(self, release: Cid, source: PeerId) -> None:
        if self.manifests == "denied":
            raise DeniedError("the denylist names one of its tracks")
        if self.manifests == "gone":
            raise NetworkError("nobody has the manifest")
        if self.manifests == "slow":
            await trio.sleep_forever()

    async def fetch(self, release: Cid, source: PeerId, size_bytes: int, report) -> None:
        if self.denies:
            raise DeniedError("the denylist names it")
        if self.fails:
            self.fails -= 1
            raise NetworkError("nobody delivers it now")
        client = ChunkClient(host=self.host, clock=SystemClock())
        wants = [Want(i, 5000) for i in PARTS if i not in self.skip]
        async with client.fetch(source, ROOT, wants) as deliveries:
            async for each in deliveries:
                self.segments.segments[each.index] = each.data
                report(5000 * len(self.segments.segments))
        for i in self.skip:
            self.segments.segments[i] = b"!" * 5000

    async def drop(self, release: Cid) -> None:
        self.dropped.append(release)
        self.segments.segments.clear()


class Node:
    """One participant: host, chunk server and one side of the pledge protocol."""

    def __init__(self, name: str, **settings) -> None:
        self.host = make_host(name)
        self.identity = identity(name, settings.pop("account", None))
        self.shelf = Shelf(self.host, **settings.pop("shelf", {}))
        self.policy = settings.pop("policy", POLICY)
        self.kv = settings.pop("kv", MemoryKv())
        self.book = PledgeBook(table=Table(self.kv, "pledges"), clock=SystemClock())
        self.operator = Operator(
            host=self.host,
            identity=self.identity,
            book=self.book,
            store=self.shelf,
            policy=lambda: self.policy,
            denylist=settings.pop("denylist", Denylist()),
            clock=SystemClock(),
            rng=Random(1),
            config=OperatorConfig(retry_s=0.1, **settings),
        )

    async def start(self, nursery, *, segments=None) -> None:
        await nursery.start(self.host.run)
        ChunkServer(source=segments or self.shelf.segments, clock=SystemClock()).attach(self.host)
        await nursery.start(self.operator.run)


def replicator(artist: Node, kv) -> Replicator:
    clock, host = SystemClock(), artist.host

    async def roots(_: Cid):
        return [AUDITED]

    async def connect(_: PeerId) -> None:
        raise NetworkError("no address is known")

    return Replicator(
        host=host,
        client=PledgeClient(host=host, identity=artist.identity),
        auditor=Auditor(probe=ChunkProbe(ChunkClient(host=host, clock=clock)), rng=Random(1)),
        book=CampaignBook(
            table=Table(kv, "campaigns"),
            own=artist.identity.account,
            config=PlannerConfig(check_every_s=1),
        ),
        offers=OfferBook(clock=clock),
        roots=roots,
        connect=connect,
        clock=clock,
        rng=Random(1),
        config=ReplicationConfig(busy_every_s=0.05),
    )


@asynccontextmanager
async def stage(*operators: Node):
    """An artist connected to operators."""
    artist = Node("artist", policy=PledgePolicy())
    async with trio.open_nursery() as nursery:
        await artist.start(nursery, segments=MemorySegments(PARTS, ROOT))
        for each in operators:
            await each.start(nursery)
            await artist.host.dial(each.host.peer_id, each.host.listen_addrs)
        yield artist, nursery
        nursery.cancel_scope.cancel()


async def until(condition, timeout_s: float = 15.0) -> None:
    with trio.fail_after(timeout_s):
        while not condition():
            await trio.sleep(0.05)


async def test_a_release_is_safe_when_enough_operators_keep_an_audited_copy():
    operators = [Node(f"op{i}") for i in range(3)]
    async with stage(*operators) as (artist, nursery):
        service = replicator(artist, MemoryKv())
        await nursery.start(service.run)
        assert service.status(RELEASE) is None
        await service.replicate(RELEASE, wanted=2, size_bytes=SIZE, duration_s=DAY)
        assert not service.status(RELEASE).is_safe_to_close
        await until(lambda: service.status(RELEASE).is_safe_to_close)
        status = service.status(RELEASE)
        assert status.kept >= status.wanted == 2
        assert "safe to close" in status.message
        keepers = [each for each in operators if each.shelf.segments.segments == PARTS]
        assert len(keepers) >= 2
        assert all(each.book.is_pledged(RELEASE) for each in keepers)
        assert all(each.book.get(RELEASE).progress == Progress.COMPLETE for each in keepers)


async def test_two_devices_of_one_account_count_once():
    pair = [Node("d1", account="same"), Node("d2", account="same")]
    async with stage(*pair) as (artist, nursery):
        service = replicator(artist, MemoryKv())
        await nursery.start(service.run)
        await service.replicate(RELEASE, wanted=2, size_bytes=SIZE, duration_s=DAY)
        await until(lambda: service.status(RELEASE).kept == 1)
        await trio.sleep(0.5)
        status = service.status(RELEASE)
        assert (status.kept, status.is_safe_to_close) == (1, False)
        assert "no further offer fits" in status.message


async def test_a_copy_with_wrong_bytes_fails_the_audit_and_another_operator_is_asked():
    cheat = Node("cheat", shelf={"skip": frozenset(range(20))})
    async with stage(cheat) as (artist, nursery):
        service = replicator(artist, MemoryKv())
        await nursery.start(service.run)
        await service.replicate(RELEASE, wanted=1, size_bytes=SIZE, duration_s=DAY)
        await until(
            lambda: (
                service.status(RELEASE).replicas
                and not service.status(RELEASE).kept
                and service.status(RELEASE).replicas[0].stage is Stage.FAILED
            )
        )
        assert "wrong bytes" in service.status(RELEASE).replicas[0].reason
        assert artist.host.scores.is_banned(cheat.host.peer_id)
        honest = Node("honest")
        await honest.start(nursery)
        await artist.host.dial(honest.host.peer_id, honest.host.listen_addrs)
        await until(lambda: service.status(RELEASE).is_safe_to_close)


async def test_an_operator_that_cannot_fetch_yet_tries_again():
    slow = Node("slow", shelf={"fails": 2})
    async with stage(slow) as (artist, nursery):
        service = replicator(artist, MemoryKv())
        await nursery.start(service.run)
        await service.replicate(RELEASE, wanted=1, size_bytes=SIZE, duration_s=DAY)
        await until(lambda: service.status(RELEASE).is_safe_to_close)


async def test_campaign_and_pledges_survive_a_restart_of_both_sides():
    operator = Node("op")
    kv = MemoryKv()
    async with stage(operator) as (artist, nursery):
        service = replicator(artist, kv)
        await nursery.start(service.run)
        await service.replicate(RELEASE, wanted=1, size_bytes=SIZE, duration_s=DAY)
        await until(lambda: service.status(RELEASE).is_safe_to_close)
        await trio.sleep(0.2)
    again = Node("op", kv=operator.kv)
    again.shelf.segments.segments.update(PARTS)
    async with stage(again) as (artist, nursery):
        service = replicator(artist, kv)
        await nursery.start(service.run)
        assert service.status(RELEASE).is_safe_to_close
        assert again.book.is_pledged(RELEASE)


async def ask(artist: Node, operator: Node, *, size=SIZE, days=1, release=RELEASE):
    client = PledgeClient(host=artist.host, identity=artist.identity)
    until_s = SystemClock().now_s() + days * DAY
    return await client.ask(
        operator.host.peer_id, release=release, size_bytes=size, until_s=until_s, nonce=b"n" * 16
    )


@pytest.mark.parametrize(
    ("settings", "request_", "answer"),
    [
        ({"policy": PledgePolicy()}, {}, Answer.NOT_OFFERED),
        ({"policy": PledgePolicy(is_open=True, offered_bytes=SIZE - 1)}, {}, Answer.NO_SPACE),
        ({"shelf": {"free": SIZE - 1}}, {}, Answer.NO_SPACE),
        ({}, {"days": 31}, Answer.POLICY),
        ({}, {"days": -1}, Answer.POLICY),
        ({}, {"size": 5 << 30}, Answer.POLICY),
        ({"policy": PledgePolicy(is_open=True, offered_bytes=10**9, per_artist_max=0)}, {}, Answer.POLICY),
        ({"denylist": Denylist(entries=DenySet(cids=frozenset({RELEASE})))}, {}, Answer.DENIED),
        (
            {"denylist": Denylist(entries=DenySet(accounts=frozenset({identity("artist").account})))},
            {},
            Answer.DENIED,
        ),
        ({"denylist": SOME, "shelf": {"manifests": "denied"}}, {}, Answer.DENIED),
        ({"denylist": SOME, "shelf": {"manifests": "gone"}}, {}, Answer.BUSY),
        ({"denylist": SOME, "shelf": {"manifests": "slow"}, "manifest_s": 0.1}, {}, Answer.BUSY),
    ],
)
async def test_an_operator_says_why_it_does_not_pledge(settings, request_, answer):
    operator = Node("op", **settings)
    async with stage(operator) as (artist, _):
        with pytest.raises(PledgeRefusedError) as caught:
            await ask(artist, operator, **request_)
        assert caught.value.answer is answer
        assert operator.book.all() == []


async def test_a_pledge_is_signed_for_exactly_what_was_asked_and_asking_again_renews_it():
    operator = Node("op")
    async with stage(operator) as (artist, _):
        pledge = await ask(artist, operator)
        assert (pledge.release_cid, pledge.bytes, pledge.nonce) == (RELEASE, SIZE, b"n" * 16)
        assert pledge.account == operator.identity.account
        assert pledge.peer == key_of_peer(operator.host.peer_id)
        later = await ask(artist, operator, days=3)
        assert later.until > pledge.until
        assert len(operator.book.all()) == 1
        # Space that is pledged is not offered twice.
        offer = operator.operator.offer()
        assert offer.free_bytes == POLICY.offered_bytes - SIZE


async def test_a_pledge_whose_release_turns_out_to_be_denied_is_given_up_and_the_artist_is_told():
    operator = Node("op", shelf={"denies": True})
    async with stage(operator) as (artist, nursery):
        service = replicator(artist, MemoryKv())
        await nursery.start(service.run)
        await service.replicate(RELEASE, wanted=1, size_bytes=SIZE, duration_s=DAY)
        await until(lambda: [each.stage for each in service.status(RELEASE).replicas] == [Stage.FAILED])
        assert "gave its pledge up" in service.status(RELEASE).replicas[0].reason
        assert operator.book.get(RELEASE) is None


async def test_an_operator_pledges_only_for_the_accounts_that_it_accepts():
    operator = Node("op", policy=replace(POLICY, artists=frozenset({identity("somebody").account})))
    async with stage(operator) as (artist, _):
        client = PledgeClient(host=artist.host, identity=artist.identity)
        asked = {"release": RELEASE, "size_bytes": SIZE, "until_s": SystemClock().now_s() + 60}
        with pytest.raises(PledgeRefusedError, match="rules"):
            await client.ask(operator.host.peer_id, **asked, nonce=b"n" * 16)
        operator.policy = replace(POLICY, artists=frozenset({artist.identity.account}))
        assert (await client.ask(operator.host.peer_id, **asked, nonce=b"n" * 16)).bytes == SIZE


async def test_a_pledge_that_ends_is_let_go():
    operator = Node("op", check_every_s=0.1)
    async with stage(operator) as (artist, _):
        client = PledgeClient(host=artist.host, identity=artist.identity)
        until_s = SystemClock().now_s() + 2
        await client.ask(
            operator.host.peer_id, release=RELEASE, size_bytes=SIZE, until_s=until_s, nonce=b"n" * 16
        )
        await until(lambda: operator.shelf.dropped == [RELEASE])
        with pytest.raises(PledgeRefusedError, match="no pledge"):
            await client.status(operator.host.peer_id, RELEASE)


async def test_an_ask_with_a_foreign_binding_or_a_forged_signature_gets_nothing():
    operator = Node("op")
    async with stage(operator) as (artist, _):
        own, other = artist.identity, identity("somebody")
        stolen = Identity(other.account, own.signer, other.binding, own.check_binding)
        client = PledgeClient(host=artist.host, identity=stolen)
        with pytest.raises(PledgeRefusedError, match="binding"):
            await client.ask(
                operator.host.peer_id, release=RELEASE, size_bytes=1, until_s=2**40, nonce=b"n" * 16
            )
        replayed = Identity(other.account, other.signer, other.binding, own.check_binding)
        client = PledgeClient(host=artist.host, identity=replayed)
        with pytest.raises((NetworkError, MalformedError)):
            await client.ask(
                operator.host.peer_id, release=RELEASE, size_bytes=1, until_s=2**40, nonce=b"n" * 16
            )
        assert operator.book.all() == []
        assert operator.host.scores.score(artist.host.peer_id).penalty > 0


async def test_too_many_requests_are_answered_busy_and_junk_counts_towards_a_ban():
    operator = Node("op", requests_burst=3.0, requests_per_s=0.01)
    async with stage(operator) as (artist, _):
        client = PledgeClient(host=artist.host, identity=artist.identity)
        now_s = SystemClock().now_s()
        for _ in range(3):
            await client.offer(operator.host.peer_id, now_s)
        with pytest.raises(PledgeRefusedError, match="busy"):
            await client.offer(operator.host.peer_id, now_s)
        for number in range(20):
            if operator.host.scores.is_banned(artist.host.peer_id):
                break
            stream = await artist.host.open_stream(operator.host.peer_id, PROTOCOL)
            await stream.write(pack(bytes([number]) * 50))
            await trio.sleep(0.05)
            await stream.reset()
        assert operator.host.scores.is_banned(artist.host.peer_id)
