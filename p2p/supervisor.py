"""The one place where a peer's failure is caught, counted and, if need be, punished.

Everything that runs on behalf of one peer runs under ``Supervisor.guard``: whatever goes wrong ends
that peer's stream and nothing else. py-libp2p takes the whole node down when a stream handler raises.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from enum import Enum

import trio

from marina.errors import MalformedError, MarinaError
from marina.ids import PeerId
from p2p.errors import PeerMisbehavedError, PeerStalledError
from p2p.metrics import P2PMetrics
from p2p.peerid import short
from p2p.scores import ScoreBook

log = logging.getLogger("marina.p2p")


class Outcome(Enum):
    """How guarded work ended."""

    DONE = "done"
    PEER_FAILED = "peer_failed"
    MISBEHAVED = "misbehaved"
    DEFECT = "defect"


class Supervisor:
    """Turns exceptions of per-peer work into log lines, counts, scores and bans."""

    def __init__(
        self,
        *,
        scores: ScoreBook,
        metrics: P2PMetrics,
        on_ban: Callable[[PeerId], None],
    ) -> None:
        self._scores = scores
        self._metrics = metrics
        self._on_ban = on_ban

    async def guard(self, peer: PeerId, protocol: str, work: Callable[[], Awaitable[None]]) -> Outcome:
        """Run work for one peer; no ``Exception`` escapes, cancellation passes through.

        A nursery that is cancelled while a child fails raises both at once; the failure is kept here
        and the cancellation goes on.
        """
        outcome = Outcome.DONE
        try:
            await work()
        except* Exception as group:  # noqa: BLE001 - the boundary that keeps one peer's failure its own
            outcome = self._judge(peer, protocol, group)
        return outcome

    def misbehaved(self, peer: PeerId, protocol: str, rule: str) -> None:
        """Count one broken rule of a peer and ban it when it is one too many."""
        banned = self._scores.malformed(peer)
        self._metrics.misbehaviour.labels(protocol=protocol).inc()
        log.warning(
            "peer misbehaved",
            extra={
                "context": {"peer": short(peer), "protocol": protocol, "rule": rule[:200], "banned": banned}
            },
        )
        if banned:
            self._metrics.bans.labels(reason="malformed").inc()
            self._on_ban(peer)

    def corrupt(self, peer: PeerId, protocol: str, what: str) -> None:
        """Ban a peer that delivered bytes with the wrong hash."""
        self._scores.corrupt(peer)
        self._metrics.misbehaviour.labels(protocol=protocol).inc()
        self._metrics.bans.labels(reason="corrupt").inc()
        log.warning(
            "peer misbehaved",
            extra={
                "context": {"peer": short(peer), "protocol": protocol, "rule": what[:200], "banned": True}
            },
        )
        self._on_ban(peer)

    def _judge(self, peer: PeerId, protocol: str, err: Exception) -> Outcome:
        causes = list(_leaves(err))
        for cause in causes:
            if not isinstance(cause, MarinaError | trio.TooSlowError):
                self._metrics.handler_errors.labels(protocol=protocol).inc()
                log.error(
                    "defect in a stream handler; the stream was reset",
                    exc_info=err,
                    extra={"context": {"peer": short(peer), "protocol": protocol}},
                )
                return Outcome.DEFECT
        for cause in causes:
            if isinstance(cause, MalformedError | PeerMisbehavedError):
                self.misbehaved(peer, protocol, str(cause))
                return Outcome.MISBEHAVED
        self._metrics.peer_errors.labels(protocol=protocol).inc()
        if any(isinstance(cause, PeerStalledError | trio.TooSlowError) for cause in causes):
            self._scores.failed(peer)
        log.debug(
            "a peer's stream failed",
            extra={"context": {"peer": short(peer), "protocol": protocol, "cause": str(causes[0])[:200]}},
        )
        return Outcome.PEER_FAILED


def _leaves(err: Exception) -> Iterator[Exception]:
    """Yield the exceptions that an exception group holds, at any depth."""
    if isinstance(err, ExceptionGroup):
        for inner in err.exceptions:
            yield from _leaves(inner)
    else:
        yield err
