"""A guardian's door on real hosts: frames, deadlines, streams, and answers for who is connected."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from p2p import key_server
from p2p.errors import P2PError, PeerGoneError
from p2p.host import Host
from p2p.key_client import KeyClient
from p2p.key_server import STREAMS_PER_PEER_MAX, KeyServer
from p2p.wire.key import FRAME_BYTES_MAX, PROTOCOL, Code, Grant, Refusal, decode_answer
from tests.support.key_chain import NOW_S
from tests.support.key_rig import KeyRig
from tests.support.peers import make_host, running


class Door:
    """A guardian that listens, and the host of the buyer's device, connected to it."""

    def __init__(self) -> None:
        self.rig = KeyRig()
        self.guardian: Host = make_host("the guardian")
        self.buyer: Host = make_host("the buyer's device")
        self.server = KeyServer(answering=self.rig.judge)
        self.server.attach(self.guardian)

    async def meet(self, host: Host) -> None:
        await host.dial(self.guardian.peer_id, self.guardian.listen_addrs)

    async def ask(self, message: bytes, host: Host | None = None) -> Grant | Refusal:
        client = KeyClient(host=host or self.buyer)
        found = decode_answer(await client.ask(self.guardian.peer_id, message, timeout_s=5))
        assert isinstance(found, Grant | Refusal)
        return found


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    async with running(made.guardian, made.buyer):
        await made.meet(made.buyer)
        yield made


async def test_a_device_gets_its_share_over_the_network_and_nobody_else_can_ask_for_it(door: Door) -> None:
    found = await door.ask(door.rig.request())
    assert isinstance(found, Grant)
    assert door.rig.share_in(found)
    thief = make_host("thief")
    async with running(thief):
        await door.meet(thief)
        refused = await door.ask(door.rig.request(), thief)
    assert isinstance(refused, Refusal)
    assert refused.code is Code.WRONG_PEER
    assert await door.rig.log.totals() == (1, 1)


@pytest.mark.parametrize("junk", [b"\x00", b"\x93\xc4\x00\xc4\x00\xc0", b"\xff" * 1000, b"\x90"])
async def test_a_message_that_is_none_is_answered_as_malformed(door: Door, junk: bytes) -> None:
    found = await door.ask(junk)
    assert isinstance(found, Refusal)
    assert (found.code, found.guardian_time) == (Code.MALFORMED, NOW_S)


@pytest.mark.parametrize("size", [FRAME_BYTES_MAX + 1, 2**32 - 1])
async def test_a_frame_that_says_that_it_is_too_large_is_not_read(door: Door, size: int) -> None:
    stream = await door.buyer.open_stream(door.guardian.peer_id, PROTOCOL, 5)
    await stream.write(size.to_bytes(4))
    with trio.fail_after(2), pytest.raises(PeerGoneError):
        await stream.read_exact(1)


async def test_who_sends_half_a_frame_and_waits_is_cut_off(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert key_server.READ_S == 5.0
    monkeypatch.setattr(key_server, "READ_S", 0.2)
    stream = await door.buyer.open_stream(door.guardian.peer_id, PROTOCOL, 5)
    await stream.write((100).to_bytes(4) + b"half")
    with trio.fail_after(2), pytest.raises(PeerGoneError):
        await stream.read_exact(1)


async def test_a_peer_has_two_streams_at_a_time_and_its_place_back_afterwards(door: Door) -> None:
    held = [
        await door.buyer.open_stream(door.guardian.peer_id, PROTOCOL, 5) for _ in range(STREAMS_PER_PEER_MAX)
    ]
    with pytest.raises(P2PError):
        await door.ask(door.rig.request())
    for each in held:
        await each.reset()
    with trio.fail_after(5):
        while True:
            try:
                assert isinstance(await door.ask(door.rig.request()), Grant)
                return
            except P2PError:
                await trio.sleep(0.02)


async def test_a_guardian_that_is_switched_off_answers_nobody(door: Door) -> None:
    door.server.detach(door.guardian)
    with pytest.raises(P2PError):
        await door.ask(door.rig.request())
    assert await door.rig.log.totals() == (0, 0)
