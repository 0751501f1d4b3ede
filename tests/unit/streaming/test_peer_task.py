"""The conversation with one provider."""

from contextlib import asynccontextmanager

import trio
import trio.testing

from marina.ids import PeerId
from streaming.peer_task import PeerTask
from streaming.providers import Delivery, Outcome


class Watch:
    def __init__(self):
        self.lacks: list[int] = []

    def peer_ready(self, peer):
        pass

    def peer_failed(self, peer, indices):
        pass

    def peer_lacks(self, peer, index):
        self.lacks.append(index)

    def peer_ended(self, task):
        pass


class Slow:
    """A provider that answers when the test says so, and that it lacks everything."""

    peer = PeerId("a")

    def __init__(self):
        self.sessions: list[list[int]] = []
        self.may_answer = trio.Event()

    @asynccontextmanager
    async def session(self, layout):
        self.sessions.append([])
        yield SlowSession(self, self.sessions[-1])


class SlowSession:
    received_bytes = 0

    def __init__(self, provider, asked):
        self.provider, self.asked, self.answered = provider, asked, 0

    @property
    def outstanding(self):
        return len(self.asked) - self.answered

    async def want(self, indices):
        await trio.lowlevel.checkpoint()
        self.asked.extend(indices)

    async def next(self):
        await self.provider.may_answer.wait()
        self.answered += 1
        return Delivery(self.asked[self.answered - 1], Outcome.MISSING, None)


async def test_a_request_behind_a_break_off_is_sent_though_an_answer_came_at_that_moment(autojump_clock):
    provider, watch = Slow(), Watch()
    task = PeerTask(provider=provider, layout=None, watch=watch, deliver=None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task.run)
        task.ask((1, 2))
        await trio.testing.wait_all_tasks_blocked()
        provider.may_answer.set()  # the task is about to run when both of these come
        task.break_off()
        task.ask((3,))
        await trio.testing.wait_all_tasks_blocked()
        assert provider.sessions == [[1, 2], [3]]
        nursery.cancel_scope.cancel()
