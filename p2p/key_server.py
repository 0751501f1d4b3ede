"""Serves /marina/key/1.0.0: one message in, one message out, within limits. Who answers is given."""

from __future__ import annotations

from typing import Protocol

from p2p.errors import PeerGoneError
from p2p.framing import FrameReader, pack
from p2p.host import Host
from p2p.peerkey import key_of_peer
from p2p.stream import MarinaStream
from p2p.wire.key import FRAME_BYTES_MAX, PROTOCOL

READ_S = 5.0
STREAMS_PER_PEER_MAX = 2


class Answering(Protocol):
    """What decides about a message."""

    async def answer(self, message: bytes, peer_key: bytes, origin: str) -> bytes:
        """Return the answer to a message of a peer."""
        ...


class KeyServer:
    """Answers key requests on a host while it is attached."""

    def __init__(self, *, answering: Answering) -> None:
        self._answering = answering

    def attach(self, host: Host) -> None:
        """Start answering."""
        host.serve(PROTOCOL, self.handle, max_streams_per_peer=STREAMS_PER_PEER_MAX)

    def detach(self, host: Host) -> None:
        """Stop answering."""
        host.stop_serving(PROTOCOL)

    async def handle(self, stream: MarinaStream) -> None:
        """Answer one request.

        Raises:
            MalformedError, P2PError: the peer sent no frame of the protocol, stalled or went away.
        """
        reader = FrameReader(stream, header_bytes_max=FRAME_BYTES_MAX, frame_timeout_s=READ_S)
        message = await reader.header(READ_S)
        if message is None:
            raise PeerGoneError("the peer ended the key stream without a request")
        await stream.write(
            pack(await self._answering.answer(message, key_of_peer(stream.peer), stream.network))
        )
