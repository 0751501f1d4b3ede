"""The conversation with one provider: sends what the scheduler asks, hands on what comes."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from marina.errors import MarinaError
from marina.ids import PeerId
from storage.content.layout import RenditionLayout
from streaming.providers import Delivery, Outcome, Provider, ProviderSession

log = logging.getLogger("marina.streaming")
IDLE_SESSION_S = 1.0
"""A session that nothing is asked of is given back: peers allow few streams, and other tracks want them."""
Deliver = Callable[[tuple[PeerId, Delivery]], Awaitable[None]]


class PeerWatch(Protocol):
    """Is told what a peer did not deliver."""

    def peer_ready(self, peer: PeerId) -> None:
        """Count in a peer that can be asked now."""
        ...

    def peer_failed(self, peer: PeerId, indices: tuple[int, ...]) -> None:
        """Open segments again that the peer is too busy for."""
        ...

    def peer_lacks(self, peer: PeerId, index: int) -> None:
        """Note that the peer does not have a segment."""
        ...

    def peer_ended(self, task: PeerTask) -> None:
        """Forget the peer: it failed, refused, or was stopped."""
        ...


class PeerTask:
    """Holds the session with one provider, opened early so that the first request finds it connected."""

    def __init__(
        self, *, provider: Provider, layout: RenditionLayout, watch: PeerWatch, deliver: Deliver
    ) -> None:
        self.provider = provider
        self.is_refused = False
        self.is_finished = False
        self._layout = layout
        self._watch = watch
        self._deliver = deliver
        self._todo: deque[tuple[int, ...]] = deque()
        self._asked = trio.Event()
        self._session_scope = trio.CancelScope()
        self._is_over = False
        self._is_ready = False
        self._session: ProviderSession | None = None
        self._seen_bytes = 0

    def ask(self, indices: tuple[int, ...]) -> None:
        """Queue a request."""
        self._todo.append(indices)
        self._asked.set()

    def break_off(self) -> None:
        """Reset the session; a new one is opened for the next request."""
        self._todo.clear()
        self._session_scope.cancel()

    def finish(self) -> None:
        """End the task in good order; its session can be used again."""
        self.is_finished = True
        self._is_over = True
        self._asked.set()

    def stop(self) -> None:
        """End the task at once."""
        self._is_over = True
        self._session_scope.cancel()

    def new_bytes(self) -> int:
        """Return how many bytes came since the last call, those of unfinished segments included."""
        total = self._session.received_bytes if self._session is not None else self._seen_bytes
        new, self._seen_bytes = total - self._seen_bytes, total
        return new

    async def run(self) -> None:
        """Serve requests until the peer fails or is stopped; no failure of it leaves this task."""
        try:
            while not self._is_over:
                with trio.CancelScope() as self._session_scope:
                    async with self.provider.session(self._layout) as session:
                        self._session, self._seen_bytes = session, session.received_bytes
                        if not self._is_ready:
                            self._is_ready = True
                            self._watch.peer_ready(self.provider.peer)
                        await self._serve(session)
                self._session = None
                if not self._is_over:
                    await self._next_request()
        except MarinaError as err:
            log.debug("a provider went away: %s", err)
        finally:
            self._watch.peer_ended(self)

    async def _serve(self, session: ProviderSession) -> None:
        while not self._is_over:
            while self._todo:
                # What is asked after a break-off belongs to the next session and must not be lost here.
                await trio.lowlevel.checkpoint_if_cancelled()
                await session.want(self._todo.popleft())
            if session.outstanding:
                await self._hand_on(await session.next())
            else:
                with trio.move_on_after(IDLE_SESSION_S) as waiting:
                    await self._next_request()
                if waiting.cancelled_caught:
                    return

    async def _next_request(self) -> None:
        if not self._todo and not self._is_over:
            self._asked = trio.Event()
            await self._asked.wait()

    async def _hand_on(self, delivery: Delivery) -> None:
        match delivery.outcome:
            case Outcome.OK:
                await self._deliver((self.provider.peer, delivery))
            case Outcome.MISSING:
                self._watch.peer_lacks(self.provider.peer, delivery.index)
            case Outcome.BUSY:
                self._watch.peer_failed(self.provider.peer, (delivery.index,))
            case Outcome.DENIED:
                self._is_over = self.is_refused = True
