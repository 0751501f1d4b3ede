"""Asks a guardian or delegate over /marina/key/1.0.0: one message out, one message back, stream closed.

What the bytes mean is checked by ``p2p.wire.key`` and by who asks. See docs/protocol/key-release.md.
"""

from __future__ import annotations

import trio

from marina.ids import PeerId
from p2p.errors import PeerGoneError, PeerStalledError
from p2p.framing import FrameReader, pack
from p2p.host import Host
from p2p.wire.key import FRAME_BYTES_MAX, PROTOCOL


class KeyClient:
    """Requests to connected peers, each on a stream of its own."""

    def __init__(self, *, host: Host) -> None:
        self._host = host

    async def ask(self, peer: PeerId, message: bytes, *, timeout_s: float) -> bytes:
        """Return what a connected peer answers, unread; the request costs one round trip.

        Raises:
            MalformedError: the answer is larger than the protocol allows.
            PeerStalledError: there was none within the time.
            P2PError: the peer is gone or does not speak the protocol.
        """
        with trio.move_on_after(timeout_s):
            stream = await self._host.open_stream(peer, PROTOCOL, timeout_s, is_lazy=True)
            async with stream:
                await stream.write(pack(message))
                reader = FrameReader(stream, header_bytes_max=FRAME_BYTES_MAX, frame_timeout_s=timeout_s)
                answer = await reader.header(timeout_s)
                if answer is None:
                    raise PeerGoneError("the peer ended the key stream without an answer")
                return answer
        raise PeerStalledError(f"the peer did not answer a key request within {timeout_s:g} s")
