"""The door of bitswap: every stream that peers open, for wants and for blocks alike."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from marina.clock import Clock
from p2p.bitswap.client import BitswapClient
from p2p.bitswap.frames import VarintReader
from p2p.bitswap.messages import MESSAGE_BYTES_MAX, PROTOCOL, decode_message
from p2p.bitswap.server import BitswapServer
from p2p.chunk.pacing import Pacer
from p2p.host import Host
from p2p.stream import MarinaStream

if TYPE_CHECKING:
    from trio_typing import TaskStatus

STREAMS_PER_PEER_MAX = 8
IDLE_S = 300.0
PAUSE_S = 10.0
UNASKED_BYTES_MAX = 512 * 1024
"""A message of a peer from whom nothing is wanted; a wantlist of 1,024 entries takes 50 KiB."""


class Bitswap:
    """Takes the messages of peers and hands each part to whom it concerns."""

    def __init__(
        self, *, server: BitswapServer, client: BitswapClient, clock: Clock, pacer: Pacer | None = None
    ) -> None:
        """Take the two halves, and the node's download cap if it has one."""
        self._server = server
        self._client = client
        self._pacer = pacer or Pacer(clock=clock, bytes_per_s=None, burst_s=0.25)

    def attach(self, host: Host) -> None:
        """Start answering on a host."""
        host.serve(PROTOCOL, self.handle, max_streams_per_peer=STREAMS_PER_PEER_MAX)

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer peers until cancelled."""
        await self._server.run(task_status=task_status)

    async def handle(self, stream: MarinaStream) -> None:
        """Read one stream until its peer ends it or says nothing for five minutes.

        Raises:
            MalformedError, P2PError: the peer broke the protocol, stalled or went away.
        """
        reader = VarintReader(
            stream,
            frame_bytes_max=MESSAGE_BYTES_MAX,
            pause_s=PAUSE_S,
            on_bytes=partial(self._client.progressed, stream.peer),
        )
        while (size_bytes := await reader.begin(IDLE_S)) is not None:
            if size_bytes > UNASKED_BYTES_MAX and not self._client.expects(stream.peer):
                await reader.skip(size_bytes)
                continue
            message = decode_message(await reader.take(size_bytes))
            await self._pacer.pass_bytes(stream.peer, size_bytes)
            self._server.arrived(self._client.received(stream.peer, message))
            await self._server.wanted(stream, message)
