"""Answers queries of the swarm from this node's own index, within limits."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from marina.cid import Cid
from marina.clock import Clock
from marina.errors import MarinaError
from marina.ids import Account, PeerId
from marina.ratelimit import TokenBucket
from p2p.denylist import Denylist
from p2p.framing import FrameReader, pack
from p2p.host import Host
from p2p.stream import MarinaStream
from p2p.wire.search import (
    PROTOCOL,
    REQUEST_BYTES_MAX,
    ReleaseHit,
    SearchReply,
    SearchRequest,
    Status,
    decode_request,
    encode_reply,
)

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = logging.getLogger("marina.p2p")

Search = Callable[[str, int], Awaitable[Sequence[ReleaseHit]]]
"""(query, limit) → releases that fit, best first: only published ones, never what was played."""

_PEERS_LIMITED_MAX = 1024


@dataclass(frozen=True, slots=True)
class SearchServerConfig:
    """Limits of the server.

    Attributes:
        queries_per_s, queries_burst: of one peer.
        parallel: queries answered at once; more are answered BUSY.
        search_s: the index answers within this, else BUSY.
        request_s: a request must be here within this.
        streams_per_peer_max: of this protocol.
    """

    queries_per_s: float = 1.0
    queries_burst: float = 10.0
    parallel: int = 4
    search_s: float = 2.0
    request_s: float = 8.0
    streams_per_peer_max: int = 2


class SearchServer:
    """Serves /marina/search/1.0.0."""

    def __init__(
        self,
        *,
        host: Host,
        search: Search,
        denylist: Denylist,
        clock: Clock,
        config: SearchServerConfig | None = None,
    ) -> None:
        self._host = host
        self._search = search
        self._denylist = denylist
        self._clock = clock
        self._config = config or SearchServerConfig()
        self._limits: dict[PeerId, TokenBucket] = {}
        self._running = 0

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer until cancelled."""
        self._host.serve(PROTOCOL, self._answer, max_streams_per_peer=self._config.streams_per_peer_max)
        try:
            task_status.started()
            await trio.sleep_forever()
        finally:
            self._host.stop_serving(PROTOCOL)

    async def _answer(self, stream: MarinaStream) -> None:
        reader = FrameReader(
            stream, header_bytes_max=REQUEST_BYTES_MAX, frame_timeout_s=self._config.request_s
        )
        header = await reader.header(self._config.request_s)
        if header is None:
            return
        request = decode_request(header)
        reply = await self._find(stream.peer, request)
        await stream.write(pack(encode_reply(reply)))

    async def _find(self, peer: PeerId, request: SearchRequest) -> SearchReply:
        if self._running >= self._config.parallel or not self._within_rate(peer):
            return SearchReply(Status.BUSY.value, ())
        self._running += 1
        try:
            with trio.move_on_after(self._config.search_s):
                hits = await self._search(request.query, request.limit)
                return SearchReply(Status.OK.value, self._allowed(hits, request.limit))
        except MarinaError as err:  # a query that this index does not understand is no misconduct
            log.debug("a query of the swarm was refused: %s", err)
            return SearchReply(Status.REFUSED.value, ())
        finally:
            self._running -= 1
        return SearchReply(Status.BUSY.value, ())

    def _allowed(self, hits: Sequence[ReleaseHit], limit: int) -> tuple[ReleaseHit, ...]:
        """Return each release once, without what the operator's denylist names."""
        unique = {hit.release: hit for hit in reversed(hits)}
        allowed = [
            hit
            for hit in hits
            if unique.pop(hit.release, None) is not None
            and self._denylist.reason(cids=[Cid(hit.release)], account=Account(hit.account)) is None
        ]
        return tuple(allowed[:limit])

    def _within_rate(self, peer: PeerId) -> bool:
        now_s = self._clock.monotonic_s()
        bucket = self._limits.get(peer)
        if bucket is None:
            if len(self._limits) >= _PEERS_LIMITED_MAX:
                del self._limits[next(iter(self._limits))]
            bucket = TokenBucket(self._config.queries_per_s, self._config.queries_burst, now_s)
            self._limits[peer] = bucket
        return bucket.try_take(1.0, now_s)
