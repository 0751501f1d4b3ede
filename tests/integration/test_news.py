"""Announcements, haves and offers between real nodes."""

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from marina.cid import DAG_CBOR, cid_of
from marina.clock import ManualClock, SystemClock
from marina.ids import derive_release_id
from p2p.gossip import Gossip, Verdict
from p2p.news import News, NotBoundError
from p2p.providers import HaveIndex
from p2p.replication.service import OfferBook
from p2p.wire.gossip import TOPIC_RELEASES, Announcement, Have, artist_topic, seal_announcement, seal_have
from p2p.wire.pledge import Offer, vouch
from storage.errors import VaultLockedError
from tests.support.identities import identity
from tests.support.peers import make_host

RELEASE, ROOT = cid_of(b"release", DAG_CBOR), cid_of(b"root")


class Node:
    def __init__(self, name: str) -> None:
        clock = SystemClock()
        self.host = make_host(name)
        self.identity = identity(name)
        self.gossip = Gossip(host=self.host, clock=clock)
        self.haves = HaveIndex(clock=clock)
        self.offers = OfferBook(clock=clock)
        self.heard: list[Announcement] = []
        self.news = News(
            gossip=self.gossip,
            host=self.host,
            identity=self.identity,
            clock=clock,
            haves=self.haves,
            offers=self.offers,
            heard=lambda item, peer: self.heard.append(item),
        )


@asynccontextmanager
async def line(*names: str):
    """Nodes in a row, each connected to the one before, in mesh."""
    nodes = [Node(name) for name in names]
    async with trio.open_nursery() as nursery:
        for node in nodes:
            await nursery.start(node.host.run)
            await nursery.start(node.gossip.run)
            await nursery.start(node.news.run)
        for one, two in zip(nodes, nodes[1:], strict=False):  # noqa: RUF007
            await two.host.dial(one.host.peer_id, one.host.listen_addrs)
        await until(lambda: all(node.gossip.neighbours(TOPIC_RELEASES) for node in nodes))
        yield nodes
        nursery.cancel_scope.cancel()


async def until(condition, timeout_s: float = 8.0) -> None:
    with trio.fail_after(timeout_s):
        while not condition():
            await trio.sleep(0.02)


async def test_a_new_release_is_heard_by_all_and_its_publisher_is_a_provider():
    async with line("artist", "middle", "listener") as (artist, _, listener):
        release_id = derive_release_id(artist.identity.account, b"r" * 32)
        await artist.news.announce(release_id, RELEASE, 3)
        await until(lambda: listener.heard)
        item = listener.heard[0]
        assert (item.account, item.release_id, item.release_cid, item.version) == (
            artist.identity.account,
            release_id,
            RELEASE,
            3,
        )
        assert [known.peer for known in listener.haves.peers([RELEASE])] == [artist.host.peer_id]


async def test_a_device_whose_binding_ended_or_is_missing_tells_nobody_anything():
    def locked() -> bytes:
        raise VaultLockedError("this device is not bound yet")

    async with line("artist", "listener") as (artist, listener):
        artist.identity.check_binding(artist.identity.binding(), artist.identity.signer.public_key)
        release_id = derive_release_id(artist.identity.account, b"r" * 32)
        for binding in (locked, identity("somebody else").binding):
            news = News(
                gossip=artist.gossip, host=artist.host, identity=replace(artist.identity, binding=binding),
                clock=SystemClock(), haves=artist.haves, offers=artist.offers, heard=lambda *_: None,
            )  # fmt: skip
            with trio.fail_after(5), pytest.raises(NotBoundError, match="run 'marina key unlock'"):
                await news.announce(release_id, RELEASE, 1)
        await artist.news.announce(release_id, RELEASE, 2)
        await until(lambda: listener.heard)
        assert [item.version for item in listener.heard] == [2]


async def test_followers_of_an_artist_learn_who_has_the_songs():
    async with line("artist", "operator") as (artist, operator):
        account = artist.identity.account
        await artist.news.follow(account)
        await operator.news.follow(account)
        await operator.news.follow(account)
        await until(lambda: operator.gossip.neighbours(artist_topic(account)))
        await operator.news.have(account, [ROOT] + [cid_of(b"%d" % i) for i in range(100)])
        await until(lambda: len(artist.haves) == 101)
        (known,) = artist.haves.peers([ROOT])
        assert known.peer == operator.host.peer_id
        assert known.addresses == tuple(operator.host.listen_addrs)
        operator.news.unfollow(account)
        await until(lambda: not artist.gossip.neighbours(artist_topic(account)))


async def test_two_parts_of_a_node_may_speak_of_an_artist_at_the_same_moment():
    async with line("artist", "operator") as (artist, operator):
        account = artist.identity.account
        await artist.news.follow(account)
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(operator.news.have, account, [cid_of(b"%d" % number)])
        await until(lambda: operator.gossip.neighbours(artist_topic(account)))


async def test_a_node_that_follows_too_many_artists_still_keeps_what_it_pledged(monkeypatch):
    async with line("artist", "operator") as (artist, operator):
        monkeypatch.setattr("p2p.news.ARTISTS_MAX", 0)
        await operator.news.have(artist.identity.account, [ROOT])
        with pytest.raises(ValueError, match="at most"):
            await operator.news.follow(artist.identity.account)


async def test_offers_reach_artists():
    async with line("operator", "artist") as (operator, artist):
        now_s = SystemClock().now_s()
        device = operator.identity.signer.public_key
        offer = Offer(operator.identity.account, device, 10**9, 10**8, 86_400, now_s, now_s + 600)
        await operator.news.offer(offer)
        await until(lambda: artist.offers.living() == {operator.host.peer_id: offer})


def test_records_of_others_and_out_of_time_are_told_apart():
    clock = SystemClock()
    one, two = identity("one"), identity("two")
    host = make_host("one")
    news = News(
        gossip=Gossip(host=host, clock=clock),
        host=host,
        identity=one,
        clock=clock,
        haves=HaveIndex(clock=ManualClock()),
        offers=OfferBook(clock=clock),
        heard=lambda *_: None,
    )
    now_s = clock.now_s()
    item = Announcement(one.account, one.signer.public_key, b"r" * 32, RELEASE, 1, now_s, ())
    good = seal_announcement(item, one.signer, one.binding())
    author = host.peer_id
    check = news._check_announcement

    def judge(data: bytes, who=author) -> Verdict:
        return news._judge(who, data, check)

    assert judge(good) is Verdict.ACCEPT
    assert judge(good, make_host("two").peer_id) is Verdict.REJECT
    assert judge(good[:-1]) is Verdict.REJECT
    assert judge(seal_announcement(item, one.signer, two.binding())) is Verdict.IGNORE
    assert (
        judge(seal_announcement(replace(item, account=two.account), one.signer, one.binding()))
        is Verdict.REJECT
    )
    for time_s in (now_s + 3600, now_s - 2 * 86_400):
        stale = seal_announcement(replace(item, time=time_s), one.signer, one.binding())
        assert judge(stale) is Verdict.IGNORE
    artist = news._check_of_artist
    have = seal_have(Have(one.signer.public_key, (ROOT,), now_s, ()), one.signer)
    assert news._judge(author, have, lambda data: artist(two.account, data)) is Verdict.ACCEPT
    assert news._judge(author, good, lambda data: artist(two.account, data)) is Verdict.REJECT
    assert news._judge(author, good, lambda data: artist(one.account, data)) is Verdict.ACCEPT
    offer = Offer(one.account, one.signer.public_key, 1, 1, 1, now_s, now_s + 9)
    assert news._judge(author, vouch(offer, one.signer, one.binding()), news._check_offer) is Verdict.ACCEPT
