"""Where segments come from, as streaming sees it; ``node`` adapts the network to this."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from marina.cid import Cid
from marina.ids import PeerId
from storage.content.layout import RenditionLayout
from storage.file_ops import Buffer


class Outcome(Enum):
    """How a peer answered one want."""

    OK = "ok"
    MISSING = "missing"
    BUSY = "busy"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One answer: unverified bytes exactly if the outcome is OK."""

    index: int
    outcome: Outcome
    data: Buffer | None


class ProviderSession(Protocol):
    """One ordered conversation with a provider; used by one task."""

    @property
    def outstanding(self) -> int:
        """Wants without an answer yet."""
        ...

    @property
    def received_bytes(self) -> int:
        """Bytes that came on this session, those of an answer that is not whole yet included."""
        ...

    async def want(self, indices: Sequence[int]) -> None:
        """Ask for segments, answered by ``next`` in this order; NetworkError when the peer is gone."""
        ...

    async def next(self) -> Delivery:
        """Return the answer to the oldest want; NetworkError or MalformedError when there is none."""
        ...


class Provider(Protocol):
    """A peer that may have the rendition."""

    @property
    def peer(self) -> PeerId:
        """Who it is."""
        ...

    def session(self, layout: RenditionLayout) -> AbstractAsyncContextManager[ProviderSession]:
        """Connect if need be and open a session; NetworkError when that fails."""
        ...

    def report_corrupt(self) -> None:
        """Say that it sent bytes that do not hash to their digest."""
        ...


class ProviderSource(Protocol):
    """Finds providers."""

    def providers(self, root: Cid) -> AsyncIterator[Provider]:
        """Yield providers as they are found, nearest first, each once; ends when no more are known."""
        ...
