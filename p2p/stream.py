"""A byte stream to one peer, with this package's errors only.

Bytes go straight to the multiplexer; py-libp2p's ``NetStream`` around it keeps the books of its
connection. Protocols above still carry lengths and read exactly: a peer may end a stream anywhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Self

import trio
from libp2p.exceptions import BaseLibp2pError
from libp2p.network.stream.net_stream import NetStream
from libp2p.stream_muxer.exceptions import MuxedStreamEOF

from marina.ids import PeerId
from p2p.errors import PeerGoneError, PeerStalledError
from p2p.limits import subnet_of
from p2p.muxer.stream import StalledError, YamuxStream
from p2p.negotiation import proposal, read_agreement
from storage.file_ops import Buffer

_FAREWELL_S = 1.0
BROKEN = (BaseLibp2pError, OSError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What py-libp2p raises when a connection or stream fails."""


class MarinaStream:
    """One stream of one protocol.

    Attributes:
        peer: who is at the other end, proven by the connection's handshake.
        protocol: the negotiated protocol id.
        is_agreed: whether the peer has said that it speaks the protocol.
    """

    def __init__(self, raw: NetStream, *, peer: PeerId, protocol: str, is_agreed: bool = True) -> None:
        """Wrap a stream; unless agreed, its protocol is proposed with the first bytes written."""
        self.peer = peer
        self.protocol = protocol
        self._raw = raw
        self._muxed: YamuxStream = raw.muxed_stream
        self._is_over = False
        self.is_agreed = is_agreed
        self._proposal = b"" if is_agreed else proposal(protocol)

    @property
    def is_usable(self) -> bool:
        """Whether neither side has ended the stream, as far as is known here."""
        return not (self._is_over or self._muxed.is_reset or self._muxed.has_received_fin)

    @property
    def is_connected(self) -> bool:
        """Whether the connection that carries the stream still stands; the stream itself may have ended."""
        return not self._muxed.muxed_conn.is_closed

    @property
    def network(self) -> str:
        """The peer's network as rates count it: a /24 or /48; empty for this machine."""
        remote = self._muxed.get_remote_address()
        return subnet_of(remote[0] if remote else "") or ""

    async def read_some(self, max_bytes: int) -> bytes:
        """Return 1 to ``max_bytes`` bytes, or b"" at the end of the stream.

        Waits without a deadline of its own: callers put one around it.

        Raises:
            PeerGoneError: the stream was reset or its connection broke.
            StreamRefusedError: the first read, if the peer does not speak the protocol.
        """
        if not self.is_agreed:
            if self._proposal:
                await self.write(b"")
            await read_agreement(self._raw, self.protocol)
            self.is_agreed = True
        try:
            data = await self._muxed.read(max_bytes)
        except MuxedStreamEOF:
            return b""
        except BROKEN as err:
            raise PeerGoneError(f"the {self.protocol} stream was reset by its peer") from err
        return data

    async def read_into(self, target: memoryview) -> int:
        """Put 1 to ``len(target)`` bytes into a buffer and return how many, 0 at the end of the stream.

        For bulk: it saves copies. Comes after ``read_some``, and raises PeerGoneError like it.
        """
        try:
            return await self._muxed.read_into(target)
        except MuxedStreamEOF:
            return 0
        except BROKEN as err:
            raise PeerGoneError(f"the {self.protocol} stream was reset by its peer") from err

    async def read_exact(self, size_bytes: int) -> bytes:
        """Return exactly ``size_bytes`` bytes.

        Raises:
            PeerGoneError: the stream ended or broke before that.
        """
        parts = bytearray()
        while len(parts) < size_bytes:
            part = await self.read_some(size_bytes - len(parts))
            if not part:
                raise PeerGoneError(
                    f"the peer ended the {self.protocol} stream after {len(parts)} of {size_bytes} bytes"
                )
            parts += part
        return bytes(parts)

    async def write(self, *parts: Buffer) -> None:
        """Hand bytes to the connection, one part behind the other, as fast as the peer takes them.

        Raises:
            PeerStalledError: the peer granted no room for the stall timeout; the stream is reset.
            PeerGoneError: the stream or its connection broke.
        """
        proposed, self._proposal = self._proposal, b""
        try:
            await self._muxed.write_parts((proposed, *parts))
        except StalledError as err:
            await self.reset()
            raise PeerStalledError(f"the peer takes no bytes of the {self.protocol} stream") from err
        except BROKEN as err:
            raise PeerGoneError(f"the {self.protocol} stream was reset by its peer") from err

    async def close(self) -> None:
        """End the stream in good order: what was written still arrives. Idempotent, never raises."""
        if self._is_over:
            return
        self._is_over = True
        await self._farewell(self._raw.close)

    async def reset(self) -> None:
        """Break the stream off; the other side sees an error. Idempotent, never raises."""
        if self._is_over:
            return
        self._is_over = True
        await self._farewell(self._raw.reset)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.close()
        else:
            await self.reset()

    async def _farewell(self, how: Callable[[], Awaitable[None]]) -> None:
        """Say goodbye even while cancelled, but not for longer than a second."""
        with trio.CancelScope(deadline=trio.current_time() + _FAREWELL_S, shield=True):
            try:
                await how()
            except BROKEN:
                return  # it is gone already, which is what was wanted
