"""Answers the wants of peers on streams that this node opens and keeps open.

Kubo and Helia do not read the stream that they ask on, and Kubo since 0.37 expects its own to stay open.
A block goes out once; memory per peer is a message for each of three streams.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import trio

from marina.cid import Cid, known_cid
from marina.clock import Clock
from marina.errors import DamagedError, NotFoundError
from marina.ids import PeerId
from marina.ratelimit import TokenBucket
from p2p.bitswap.frames import framed
from p2p.bitswap.messages import (
    BLOCK_BYTES_MAX,
    PROTOCOL,
    Message,
    Presence,
    Want,
    WantKind,
    encode_message,
)
from p2p.bitswap.wants import PeerWants
from p2p.chunk.pacing import PIECE_BYTES, Pacer
from p2p.host import Host
from p2p.stream import MarinaStream
from p2p.supervisor import Outcome
from storage.file_ops import Buffer

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.p2p")
LANES = 3
"""Streams to one peer: while one waits for the peer's window or disk, another sends. Kubo stores what one
stream brings before it reads on."""
BATCH_BYTES = 256 * 1024
"""A message is sent when it holds so much; with the last block it stays below the protocol's 4 MiB."""
PRESENCES_MAX = 1024
IDLE_S = 60.0
FAILURES_MAX = 3
"""A peer that so often took no answer is answered no more until it wants something again."""
ENTRIES_PER_S = 20_000.0
_ENTRIES_BURST = 40_000.0


class BlockHolder(Protocol):
    """Where blocks are looked up; every ``BlockStore`` is one."""

    async def get(self, cid: Cid) -> bytes:
        """Return a block; BlockNotFoundError or BlockDamagedError if it is not here."""
        ...

    async def has(self, cid: Cid) -> bool:
        """Return whether a block is here."""
        ...


class BitswapServer:
    """Serves blocks to whoever wants them, one answering task for each peer with wants."""

    def __init__(
        self,
        *,
        host: Host,
        source: BlockHolder,
        clock: Clock,
        is_denied: Callable[[Cid], bool] = lambda _cid: False,
        pacer: Pacer | None = None,
    ) -> None:
        """Take the collaborators.

        Args:
            host: the node's host.
            source: where the blocks are.
            clock: the time.
            is_denied: whether a block must not be served; it is as if it were not here.
            pacer: the node's upload cap; none without it.
        """
        self._host = host
        self._source = source
        self._clock = clock
        self._is_denied = is_denied
        self._pacer = pacer or Pacer(clock=clock, bytes_per_s=None, burst_s=0.25)
        self._peers: dict[PeerId, _Answering] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def wanted(self, stream: MarinaStream, message: Message) -> None:
        """Take what a peer wants by one of its streams; waits when it says over 20,000 entries a second."""
        if not (message.wants or message.is_full) or self._nursery is None:
            return
        peer = stream.peer
        answering = self._peers.get(peer)
        if answering is not None and not answering.origin.is_connected:
            # It came back on a new connection: what it wanted on the old one it has forgotten.
            answering.scope.cancel()
            answering = None
        if answering is None:
            bucket = TokenBucket(ENTRIES_PER_S, _ENTRIES_BURST, self._clock.monotonic_s())
            answering = self._peers[peer] = _Answering(self, stream, bucket)
            self._nursery.start_soon(self._serve, peer, answering)
        dropped = answering.wants.update(message.wants, is_full=message.is_full)
        if dropped:
            log.debug("a peer wants more blocks at once than are kept", extra={"context": {"more": dropped}})
        answering.work.unpark_all()
        await trio.sleep(answering.entries.take(len(message.wants), self._clock.monotonic_s()))

    def arrived(self, cids: Iterable[Cid]) -> None:
        """Answer those who wait for blocks that are here now."""
        for cid in cids:
            for answering in self._peers.values():
                if answering.wants.arrived(bytes(cid)):
                    answering.work.unpark_all()

    async def look_up(self, name: bytes, kind: WantKind) -> bytes | bool | None:
        """Return a block's bytes, whether it is here if only that is wanted, None if it is not."""
        cid = known_cid(name)
        if cid is None or self._is_denied(cid):
            return None
        if kind is WantKind.HAVE:
            return await self._source.has(cid) or None
        try:
            data = await self._source.get(cid)
        except (NotFoundError, DamagedError):
            return None
        return data if len(data) <= BLOCK_BYTES_MAX else None

    async def open(self, peer: PeerId) -> MarinaStream:
        """Return a stream for answers; errors as for ``Host.open_stream``."""
        return await self._host.open_stream(peer, PROTOCOL)

    async def write(self, stream: MarinaStream, message: Sequence[Buffer]) -> None:
        """Write one message, under the upload cap."""
        if not self._pacer.is_capped:
            await stream.write(*framed(message))
            return
        for part in framed(message):
            for start in range(0, len(part), PIECE_BYTES):
                piece = part[start : start + PIECE_BYTES]
                await self._pacer.pass_bytes(stream.peer, len(piece))
                await stream.write(piece)

    async def _serve(self, peer: PeerId, answering: _Answering) -> None:
        try:
            with answering.scope:
                failures = 0
                while failures < FAILURES_MAX:
                    outcome = await self._host.supervisor.guard(peer, PROTOCOL, answering.run)
                    if outcome is Outcome.DONE:
                        if not answering.wants.has_ready:
                            return
                        continue  # it was wanted while the last stream was being closed
                    if not self._host.is_connected(peer):
                        return
                    failures += 1
                    answering.wants.again()
        finally:
            if self._peers.get(peer) is answering:
                del self._peers[peer]


_Answer = tuple[list[Buffer], list[Want]]


class _Answering:
    """One peer's wants and the task that answers them."""

    def __init__(self, server: BitswapServer, origin: MarinaStream, entries: TokenBucket) -> None:
        self.wants = PeerWants()
        self.work = trio.lowlevel.ParkingLot()
        self.entries = entries
        self.origin = origin
        self.scope = trio.CancelScope()
        self._server = server

    async def run(self) -> None:
        """Answer until the peer has wanted nothing for a minute, or is gone.

        Raises:
            P2PError: the peer went away or takes no answers.
        """
        async with trio.open_nursery() as nursery:
            for _ in range(LANES):
                nursery.start_soon(self._lane)

    async def _lane(self) -> None:
        stream: MarinaStream | None = None
        try:
            while await self._is_wanted():
                message, answered = await self._message()
                if not answered:
                    continue
                stream = stream or await self._server.open(self.origin.peer)
                await self._server.write(stream, message)
                for want in answered:
                    self.wants.done(want)
        except BaseException:
            if stream is not None:
                await stream.reset()
            raise
        if stream is not None:
            await stream.close()

    async def _is_wanted(self) -> bool:
        while not self.wants.has_ready:
            with trio.move_on_after(IDLE_S) as scope:
                await self.work.park()
            is_over = not len(self.wants) or not self.origin.is_connected
            if scope.cancelled_caught and is_over and not self.wants.has_ready:
                return False
        return True

    async def _message(self) -> _Answer:
        """Return the next answers as one message, and the wants that it answers, if any."""
        answered: list[Want] = []
        blocks: list[tuple[bytes, bytes]] = []
        presences: list[Presence] = []
        size_bytes = 0
        while size_bytes < BATCH_BYTES and len(presences) < PRESENCES_MAX:
            want = self.wants.take()
            if want is None:
                break
            found = await self._server.look_up(want.name, want.kind)
            if isinstance(found, bytes):
                blocks.append((want.name, found))
                size_bytes += len(found)
            elif found:
                presences.append(Presence(want.name, True))
            elif want.tells_absence:
                presences.append(Presence(want.name, False))
            else:
                continue  # it waits until the block is here, or until its peer cancels it
            answered.append(want)
        return encode_message(blocks=blocks, presences=presences), answered
