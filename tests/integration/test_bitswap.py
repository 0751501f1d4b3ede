"""Blocks over bitswap between Marina nodes: served, wanted, called off, from several peers at once."""

from __future__ import annotations

import os

import pytest
import trio

from marina.cid import cid_of
from p2p.bitswap import server
from p2p.bitswap import session as session_module
from p2p.bitswap.messages import Presence, Want, WantKind
from tests.support.peers import running
from tests.support.swapping import Rogue, Swapper, message, swapping


async def test_blocks_come_whole_and_what_nobody_has_is_named_at_once() -> None:
    listener, artist = Swapper("listener"), Swapper("artist")
    async with swapping(listener, artist):
        blocks = await artist.fill(700) | await artist.fill(3, 2 * 1024 * 1024)
        absent = cid_of(b"nobody has this")
        with trio.fail_after(session_module.STALL_S):
            found, missing = await listener.fetch([absent, *blocks], artist)
        assert found == blocks
        assert missing == [absent]
        assert listener.client.unwanted == 0


async def test_several_peers_share_the_work_and_each_block_comes_once() -> None:
    listener, *artists = (Swapper(name) for name in ("listener", "one", "two", "three"))
    async with swapping(listener, *artists):
        blocks = {}
        for artist in artists:
            blocks |= await artist.fill(60, 20_000)
        shared = await artists[0].fill(60, 20_000)
        for artist in artists[1:]:
            await artist.store.put_many(shared)
        found, missing = await listener.fetch([*shared, *blocks], *artists)
        assert found == shared | blocks
        assert not missing
        assert listener.client.unwanted == 0


async def test_a_peer_that_goes_away_loses_its_wants_to_the_others() -> None:
    listener, artist, gone = Swapper("listener"), Swapper("artist"), Rogue("gone")
    async with swapping(listener, artist, others=[gone.host]):
        blocks = await artist.fill(200, 10_000)

        async def go() -> None:
            await gone.wanted()
            await gone.host.disconnect(listener.host.peer_id)

        with trio.fail_after(15):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(go)
                found, missing = await listener.fetch(list(blocks), gone.host, artist)
        assert found == blocks
        assert not missing


async def test_presence_is_told_without_bytes_and_a_denied_block_is_absent() -> None:
    secret = b"taken down"
    artist = Swapper("artist", denied=frozenset({cid_of(secret)}))
    asker = Rogue("asker")
    async with swapping(artist, others=[asker.host]):
        (here,) = await artist.fill(1)
        await artist.store.put(cid_of(secret), secret)
        absent = cid_of(b"nobody")
        wants = [
            Want(bytes(cid), WantKind.HAVE, tells_absence=True) for cid in (here, absent, cid_of(secret))
        ]
        wants.append(Want(bytes(cid_of(secret)), WantKind.BLOCK, tells_absence=True))
        blake = b"\x01\x55\x1e\x20" + bytes(32)
        wants.append(Want(blake, WantKind.BLOCK, tells_absence=True))
        stream = await asker.say(artist.host.peer_id, message(wants=wants[:3]), message(wants=wants[3:]))
        with trio.fail_after(5):
            while sum(len(each.presences) for each in asker.heard) < 4:
                await trio.sleep(0.01)
        told = {each.name: each.is_here for heard in asker.heard for each in heard.presences}
        assert told == {
            bytes(here): True,
            bytes(absent): False,
            bytes(cid_of(secret)): False,
            blake: False,
        }
        assert not any(heard.blocks for heard in asker.heard)
        await stream.close()


async def test_who_waits_for_a_block_gets_it_when_it_arrives_unless_they_called_it_off() -> None:
    relay, artist, patient, fickle = (
        Swapper("relay"), Swapper("artist"), Rogue("patient"), Rogue("fickle"),
    )  # fmt: skip
    async with swapping(relay, artist, others=[patient.host, fickle.host]):
        ((cid, data),) = (await artist.fill(1)).items()
        want, call_off = Want(bytes(cid)), Want(bytes(cid), is_cancel=True)
        one = await patient.say(relay.host.peer_id, message(wants=[want]))
        two = await fickle.say(relay.host.peer_id, message(wants=[want]), message(wants=[call_off]))
        await trio.sleep(0.1)
        assert not patient.heard
        await relay.store.put(cid, data)
        found, _ = await relay.fetch([cid], artist)
        assert found == {cid: data}
        with trio.fail_after(5):
            while not patient.heard:
                await trio.sleep(0.01)
        assert patient.heard[0].blocks == ((cid, data),)
        await trio.sleep(0.1)
        assert not fickle.heard
        await one.close()
        await two.close()


async def test_a_want_that_waits_outlives_the_silence_and_ends_with_its_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "IDLE_S", 0.1)
    artist, patient = Swapper("artist"), Rogue("patient")
    async with swapping(artist, others=[patient.host]):
        data = os.urandom(100)
        stream = await patient.say(artist.host.peer_id, message(wants=[Want(bytes(cid_of(data)))]))
        await trio.sleep(0.5)
        await artist.store.put(cid_of(data), data)
        artist.server.arrived([cid_of(data)])
        with trio.fail_after(5):
            while not patient.heard:
                await trio.sleep(0.01)
        assert patient.heard[0].blocks == ((cid_of(data), data),)
        other = Want(bytes(cid_of(b"never comes")))
        again = await patient.say(artist.host.peer_id, message(wants=[other]))
        await trio.sleep(0.3)
        assert artist.server._peers
        await artist.host.disconnect(patient.host.peer_id)
        with trio.fail_after(5):
            while artist.server._peers:
                await trio.sleep(0.01)
        await stream.reset()
        await again.reset()


async def test_a_fetch_that_is_left_early_calls_off_what_it_wanted() -> None:
    listener, silent = Swapper("listener"), Rogue("silent")
    async with swapping(listener, others=[silent.host]):
        cids = [cid_of(os.urandom(8)) for _ in range(10)]
        with trio.move_on_after(0.3):
            await listener.fetch(cids, silent.host)
        with trio.fail_after(5):
            while not any(want.is_cancel for each in silent.heard for want in each.wants):
                await trio.sleep(0.01)
        called_off = {want.name for each in silent.heard for want in each.wants if want.is_cancel}
        assert called_off == {bytes(cid) for cid in cids}
        assert not listener.client.expects(silent.host.peer_id)
        late = await silent.say(listener.host.peer_id, message(presences=[Presence(bytes(cids[0]), True)]))
        await late.close()


async def test_who_comes_back_on_a_new_connection_is_served_at_once() -> None:
    artist = Swapper("artist")
    async with running(artist.host), trio.open_nursery() as nursery:
        await nursery.start(artist.bitswap.run)
        blocks = await artist.fill(50, 50_000)
        for _ in range(3):
            listener = Swapper("listener")
            async with running(listener.host), trio.open_nursery() as inner:
                await inner.start(listener.bitswap.run)
                await listener.host.dial(artist.host.peer_id, artist.host.listen_addrs)
                with trio.fail_after(session_module.STALL_S - 1):
                    assert (await listener.fetch(list(blocks), artist))[0] == blocks
                inner.cancel_scope.cancel()
        nursery.cancel_scope.cancel()


async def test_an_answer_that_was_refused_once_is_given_again() -> None:
    artist, picky = Swapper("artist"), Rogue("picky", refusals=1)
    async with swapping(artist, others=[picky.host]):
        ((cid, data),) = (await artist.fill(1, 1_500_000)).items()
        stream = await picky.say(artist.host.peer_id, message(wants=[Want(bytes(cid))]))
        with trio.fail_after(5):
            while not picky.heard:
                await trio.sleep(0.01)
        assert picky.heard[0].blocks == ((cid, data),)
        await stream.close()
