"""The supervisor: whatever work raises, it judges; only cancellation passes."""

import pytest
import trio

from marina.clock import ManualClock
from marina.errors import MalformedError
from marina.ids import PeerId
from p2p.errors import PeerGoneError, PeerMisbehavedError, PeerStalledError
from p2p.metrics import P2PMetrics
from p2p.scores import ScoreBook
from p2p.supervisor import Outcome, Supervisor

PEER = PeerId("12D3KooWpeer")


def make() -> tuple[Supervisor, ScoreBook, list[PeerId]]:
    scores, banned = ScoreBook(clock=ManualClock()), []
    return Supervisor(scores=scores, metrics=P2PMetrics(), on_ban=banned.append), scores, banned


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, Outcome.DONE),
        (PeerGoneError("gone"), Outcome.PEER_FAILED),
        (PeerStalledError("stalled"), Outcome.PEER_FAILED),
        (trio.TooSlowError(), Outcome.PEER_FAILED),
        (MalformedError("bad"), Outcome.MISBEHAVED),
        (PeerMisbehavedError("bad"), Outcome.MISBEHAVED),
        (
            ExceptionGroup("", [PeerGoneError("x"), ExceptionGroup("", [MalformedError("y")])]),
            Outcome.MISBEHAVED,
        ),
        (ExceptionGroup("", [PeerGoneError("x"), KeyError("y")]), Outcome.DEFECT),
        (RecursionError(), Outcome.DEFECT),
    ],
)
async def test_every_exception_ends_here(error: Exception | None, outcome: Outcome) -> None:
    supervisor, _, _ = make()

    async def work() -> None:
        await trio.lowlevel.checkpoint()
        if error is not None:
            raise error

    assert await supervisor.guard(PEER, "/x/1", work) is outcome


async def test_a_failure_beside_a_cancellation_is_judged_and_the_cancellation_goes_on() -> None:
    supervisor, scores, _ = make()

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise MalformedError("while leaving")

    with trio.move_on_after(0.01) as scope:
        await supervisor.guard(PEER, "/x/1", work)
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert scores.score(PEER).penalty > 0


async def test_the_ban_is_told_once_and_the_log_names_the_rule(caplog: pytest.LogCaptureFixture) -> None:
    supervisor, _, banned = make()
    for _ in range(10):
        supervisor.misbehaved(PEER, "/x/1", "an index twice")
    assert banned == [PEER]
    record = caplog.records[-1]
    assert record.message == "peer misbehaved"
    assert record.context == {
        "peer": "…KooWpeer",
        "protocol": "/x/1",
        "rule": "an index twice",
        "banned": True,
    }


async def test_corrupt_bytes_ban_at_once() -> None:
    supervisor, scores, banned = make()
    supervisor.corrupt(PEER, "/x/1", "segment 3 has another hash")
    assert banned == [PEER]
    assert scores.is_banned(PEER)
