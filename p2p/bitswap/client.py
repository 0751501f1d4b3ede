"""Fetches blocks from peers that speak bitswap: sessions over several peers, bounded in memory.

Only what a session wants at this moment is taken in; a block's CID is computed from its bytes, so a block
with wrong bytes is one that nobody wanted. Everything else is dropped and counted.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

import trio

from marina.cid import Cid, known_cid
from marina.ids import PeerId
from p2p.bitswap.frames import framed
from p2p.bitswap.messages import PROTOCOL, Message, Want, encode_message
from p2p.errors import P2PError
from p2p.host import Host
from p2p.stream import MarinaStream
from storage.file_ops import Buffer

log = logging.getLogger("marina.p2p")
_LINES_KEPT_MAX = 128
_FAREWELL_S = 1.0


class Taker(Protocol):
    """Who wants blocks: it hears of each at most once, and of nothing that it did not want."""

    def wanted(self) -> set[Cid]:
        """Return what was asked for and is not here yet."""
        ...

    def arrived(self, peer: PeerId, cid: Cid, data: Buffer) -> None:
        """Take a block that was wanted, verified."""
        ...

    def told(self, peer: PeerId, cid: Cid, *, is_here: bool) -> None:
        """Take what a peer says of a block that is wanted."""
        ...


class BitswapClient:
    """Says to peers what is wanted, and hands what arrives to those who want it.

    Attributes:
        unwanted: blocks that arrived and that nobody wanted; none of them was kept.
    """

    def __init__(self, *, host: Host) -> None:
        self._host = host
        self._wanted: dict[Cid, list[Taker]] = {}
        self._asked: dict[PeerId, int] = {}
        self._progress: dict[PeerId, int] = {}
        self._lines: OrderedDict[PeerId, _Line] = OrderedDict()
        self.unwanted = 0

    def expects(self, peer: PeerId) -> bool:
        """Return whether somebody here asks a peer for blocks."""
        return peer in self._asked

    def progressed(self, peer: PeerId, size_bytes: int) -> None:
        """Count bytes of a message that is not whole yet."""
        if peer in self._asked:
            self._progress[peer] = self._progress.get(peer, 0) + size_bytes

    def received_bytes(self, peer: PeerId) -> int:
        """Return how many bytes came from a peer since it is being asked, whole messages or not."""
        return self._progress.get(peer, 0)

    def received(self, peer: PeerId, message: Message) -> list[Cid]:
        """Hand on the blocks and presences of a message; return what was wanted of it."""
        taken = []
        for cid, data in message.blocks:
            takers = self._wanted.pop(cid, None)
            if takers is None:
                self.unwanted += 1
                continue
            taken.append(cid)
            for taker in takers:
                taker.arrived(peer, cid, data)
        for each in message.presences:
            named = known_cid(each.name)
            if named is None:
                continue
            for taker in tuple(self._wanted.get(named, ())):
                taker.told(peer, named, is_here=each.is_here)
        return taken

    @contextmanager
    def taking_part(self, taker: Taker, peers: Sequence[PeerId]) -> Iterator[None]:
        """Count whom a taker asks while the block runs; afterwards it wants nothing any more."""
        for peer in peers:
            self._asked[peer] = self._asked.get(peer, 0) + 1
        try:
            yield
        finally:
            for peer in peers:
                self._asked[peer] -= 1
                if not self._asked[peer]:
                    del self._asked[peer]
                    self._progress.pop(peer, None)
            self.forget(taker, taker.wanted())

    def want(self, taker: Taker, cids: Iterable[Cid]) -> None:
        """Let blocks in for a taker."""
        for cid in cids:
            self._wanted.setdefault(cid, []).append(taker)

    def forget(self, taker: Taker, cids: Iterable[Cid]) -> None:
        """Let blocks in for a taker no longer."""
        for cid in cids:
            left = [each for each in self._wanted.get(cid, ()) if each is not taker]
            if left:
                self._wanted[cid] = left
            else:
                self._wanted.pop(cid, None)

    async def ask(self, peer: PeerId, wants: Sequence[Want]) -> None:
        """Send a peer changes of what is wanted from it.

        Raises:
            P2PError: it does not speak bitswap, takes no bytes or went away.
        """
        line = self._lines.pop(peer, None) or _Line(self._host, peer)
        self._lines[peer] = line
        await line.send(encode_message(wants=wants))
        while len(self._lines) > _LINES_KEPT_MAX:
            _, oldest = self._lines.popitem(last=False)
            await oldest.close()

    async def cancel(self, peer: PeerId, cids: Collection[Cid]) -> None:
        """Tell a peer that blocks are not wanted any more; also while cancelled, for at most a second."""
        if not cids:
            return
        with trio.CancelScope(deadline=trio.current_time() + _FAREWELL_S, shield=True), suppress(P2PError):
            # Who is gone sends nothing more, which is all that is wanted.
            await self.ask(peer, [Want(bytes(cid), is_cancel=True) for cid in cids])

    async def close(self) -> None:
        """Close the kept streams."""
        while self._lines:
            _, line = self._lines.popitem()
            await line.close()


class _Line:
    """The stream on which one peer hears what is wanted; opened again when the peer has closed it."""

    def __init__(self, host: Host, peer: PeerId) -> None:
        self._host = host
        self._peer = peer
        self._stream: MarinaStream | None = None
        self._turn = trio.Lock()

    async def send(self, parts: Sequence[Buffer]) -> None:
        async with self._turn:
            if self._stream is None or not self._stream.is_usable:
                await self._drop()
                self._stream = await self._host.open_stream(self._peer, PROTOCOL)
            try:
                await self._stream.write(*framed(parts))
            except P2PError:
                await self._drop()
                raise

    async def close(self) -> None:
        async with self._turn:
            if self._stream is not None:
                await self._stream.close()
                self._stream = None

    async def _drop(self) -> None:
        if self._stream is not None:
            await self._stream.reset()
            self._stream = None
