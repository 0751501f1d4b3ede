"""Answers the searches of peers from this node's public catalogue."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from marina.clock import Clock
from marina.ids import PeerId
from marina.ratelimit import TokenBucket
from p2p.framing import FrameReader, pack
from p2p.host import Host
from p2p.stream import MarinaStream
from p2p.wire.search import (
    HITS_MAX,
    PROTOCOL,
    REQUEST_BYTES_MAX,
    ReleaseHit,
    SearchReply,
    Status,
    decode_request,
    encode_reply,
)

STREAMS_PER_PEER_MAX = 2
FRAME_TIMEOUT_S = 8.0
QUERIES_PER_S = 2.0
QUERIES_BURST = 20.0
_PEERS_TRACKED_MAX = 1024
LocalSearch = Callable[[str, int], Awaitable[Sequence[ReleaseHit]]]
"""(query, limit) → hits of this node, best first; never raises for odd queries."""


class SearchServer:
    """One query a stream; at most two a second and peer on average."""

    def __init__(self, *, search: LocalSearch, clock: Clock, is_answering: bool = True) -> None:
        self._search = search
        self._clock = clock
        self._is_answering = is_answering
        self._buckets: OrderedDict[PeerId, TokenBucket] = OrderedDict()

    def attach(self, host: Host) -> None:
        """Start answering on a host."""
        host.serve(PROTOCOL, self.handle, max_streams_per_peer=STREAMS_PER_PEER_MAX)

    async def handle(self, stream: MarinaStream) -> None:
        """Answer one query.

        Raises:
            MalformedError, P2PError: the peer broke the protocol, stalled or went away.
        """
        reader = FrameReader(stream, header_bytes_max=REQUEST_BYTES_MAX, frame_timeout_s=FRAME_TIMEOUT_S)
        header = await reader.header(FRAME_TIMEOUT_S)
        if header is None:
            return
        request = decode_request(header)
        if not self._is_answering:
            reply = SearchReply(Status.REFUSED.value, ())
        elif not self._bucket(stream.peer).try_take(1, self._clock.monotonic_s()):
            reply = SearchReply(Status.BUSY.value, ())
        else:
            hits = await self._search(request.query, min(request.limit, HITS_MAX))
            reply = SearchReply(Status.OK.value, tuple(hits[: request.limit]))
        await stream.write(pack(encode_reply(reply)))

    def _bucket(self, peer: PeerId) -> TokenBucket:
        if peer not in self._buckets:
            self._buckets[peer] = TokenBucket(QUERIES_PER_S, QUERIES_BURST, self._clock.monotonic_s())
            if len(self._buckets) > _PEERS_TRACKED_MAX:
                self._buckets.popitem(last=False)
        return self._buckets[peer]
