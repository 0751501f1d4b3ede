from random import Random

import trio

from marina.clock import ManualClock
from marina.ids import PeerId
from p2p import anchors
from p2p.anchors import ANCHORS_MAX, FAILURES_MAX, Anchor, AnchorBook, AnchorKeeper, choose
from p2p.peerid import peer_id_from_seed
from storage.kv import MemoryKv, Table
from tests.support.peers import make_host, running, seed


def anchor(name: str, address: str = "/ip4/203.0.113.7/tcp/4001", sessions: int = 1, failures: int = 0):
    return Anchor(peer_id_from_seed(seed(name)), (address,), sessions, 1_700_000_000, failures)


def test_reliable_peers_come_first_and_failures_count_against_a_peer():
    steady, new, failing = (
        anchor("a", "/ip4/1.2.3.4/tcp/1", sessions=9),
        anchor("b", "/ip4/1.3.3.4/tcp/1"),
        anchor("c", "/ip4/1.4.3.4/tcp/1", sessions=9, failures=2),
    )
    assert choose([failing, new, steady], 3, Random(1)) == [steady, new, failing]


def test_at_most_two_of_a_subnet_are_chosen():
    crowd = [anchor(f"s{i}", f"/ip4/198.51.100.{i}/tcp/1", sessions=20) for i in range(1, 10)]
    others = [anchor(f"o{i}", f"/ip4/10.{i}.0.1/tcp/1") for i in range(4)]
    chosen = choose(crowd + others, 4, Random(1))
    assert len([each for each in chosen if each in crowd]) == 2
    assert len(chosen) == 4


async def test_the_book_survives_a_restart_and_stays_small():
    kv = MemoryKv()
    book = AnchorBook(table=Table(kv, "anchors"), clock=ManualClock())
    for i in range(ANCHORS_MAX + 20):
        await book.seen(peer_id_from_seed(seed(f"p{i}")), [f"/ip4/10.{i}.0.1/tcp/4001"])
    again = AnchorBook(table=Table(kv, "anchors"), clock=ManualClock())
    assert await again.load() == ANCHORS_MAX
    assert sorted(again.all(), key=str) == sorted(book.all(), key=str)


async def test_a_peer_that_fails_eight_times_is_forgotten_and_a_success_absolves():
    book = AnchorBook(table=Table(MemoryKv(), "anchors"), clock=ManualClock())
    peer = peer_id_from_seed(seed("x"))
    await book.seen(peer, ["/ip4/10.0.0.1/tcp/1"])
    for _ in range(FAILURES_MAX - 1):
        await book.failed(peer)
    await book.seen(peer, ["/ip4/10.0.0.1/tcp/1"])
    assert book.all()[0].failures == 0
    for _ in range(FAILURES_MAX):
        await book.failed(peer)
    assert book.all() == []


async def test_damaged_entries_are_removed():
    table = Table(MemoryKv(), "anchors")
    await table.put(b"x", b"junk")
    from marina.schema import encode_record

    await table.put(b"y", encode_record(Anchor("not a peer", ("/ip4/1.2.3.4/tcp/1",), 1, 1, 0)))
    book = AnchorBook(table=table, clock=ManualClock())
    assert await book.load() == 0
    assert await table.scan() == []


async def test_addresses_nobody_can_dial_make_no_anchor():
    book = AnchorBook(table=Table(MemoryKv(), "anchors"), clock=ManualClock())
    await book.seen(PeerId("x"), ["/ip4/1.2.3.4/tcp/0", "junk"])
    assert book.all() == []


async def test_a_restarted_node_dials_its_anchors_and_counts_the_dead(monkeypatch):
    book = AnchorBook(table=Table(MemoryKv(), "anchors"), clock=ManualClock())
    me, friends = make_host("me"), [make_host(f"friend{i}") for i in range(2)]
    async with running(me, *friends):
        for friend in friends:
            await book.seen(friend.peer_id, friend.listen_addrs)
        gone = peer_id_from_seed(seed("gone"))
        await book.seen(gone, ["/ip4/127.0.0.1/tcp/1"])
        keeper = AnchorKeeper(host=me, book=book, rng=Random(1))
        assert await keeper.top_up() == 2
        assert set(me.connected_peers()) == {friend.peer_id for friend in friends}
        assert {each.peer: each.failures for each in book.all()}[gone] == 1


async def test_a_connection_that_lasts_makes_an_anchor(monkeypatch):
    monkeypatch.setattr(anchors, "STEADY_S", 0.05)
    book = AnchorBook(table=Table(MemoryKv(), "anchors"), clock=ManualClock())
    me, friend, caller = make_host("me"), make_host("friend"), make_host("caller")
    async with running(me, friend, caller), trio.open_nursery() as nursery:
        await nursery.start(AnchorKeeper(host=me, book=book, rng=Random(1)).run)
        await me.dial(friend.peer_id, friend.listen_addrs)
        await caller.dial(me.peer_id, me.listen_addrs)
        with trio.fail_after(5):
            while not book.all():
                await trio.sleep(0.02)
        await trio.sleep(0.1)
        assert [each.peer for each in book.all()] == [friend.peer_id]
        nursery.cancel_scope.cancel()


def test_an_old_acquaintance_is_met_although_most_of_the_bootstrap_table_is_hostile():
    """Threat T10, scaled: a third of the anchors hostile, half of the honest offline, all else hostile."""
    met = 0
    runs = 300
    for number in range(runs):
        rng = Random(number)
        book = [anchor(f"h{i}", f"/ip4/10.{i}.0.1/tcp/1", sessions=rng.randint(1, 9)) for i in range(8)]
        hostile = [anchor(f"e{i}", f"/ip4/11.{i}.0.1/tcp/1", sessions=rng.randint(1, 9)) for i in range(4)]
        online = [each for each in book if rng.random() < 0.5]
        picks = choose(book + hostile, 8, rng)
        met += any(each in online for each in picks)
    assert met / runs >= 0.95
