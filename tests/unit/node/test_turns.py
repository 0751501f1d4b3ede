from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from node.turns import Turns


class Record:
    """Who had the turn, in order."""

    def __init__(self):
        self.turns = Turns()
        self.order = []
        self.holders = 0

    async def use(self, name, *, is_change, until=None):
        async with self.turns.one(is_change=is_change):
            self.holders += 1
            assert self.holders == 1
            self.order.append(name)
            try:
                await (trio.sleep(0) if until is None else until.wait())
            finally:
                self.holders -= 1


async def start(record, nursery, *names, hold):
    """Let a first reader hold the turn while the others queue up; names in capitals change."""
    nursery.start_soon(lambda: record.use("first", is_change=False, until=hold))
    await wait_all_tasks_blocked()
    for name in names:
        nursery.start_soon(lambda name=name: record.use(name, is_change=name.isupper()))
        await wait_all_tasks_blocked()


async def test_a_change_waits_for_one_reader_however_many_wait(autojump_clock):
    record, hold = Record(), trio.Event()
    async with trio.open_nursery() as nursery:
        await start(record, nursery, "a", "b", "c", "X", "Y", hold=hold)
        hold.set()
    assert record.order == ["first", "X", "a", "Y", "b", "c"]


async def test_each_kind_is_first_come_first_served(autojump_clock):
    record, hold = Record(), trio.Event()
    async with trio.open_nursery() as nursery:
        await start(record, nursery, "X", "Y", "Z", hold=hold)
        hold.set()
    assert record.order == ["first", "X", "Y", "Z"]


async def test_who_gives_up_waiting_loses_nobodys_turn(autojump_clock):
    record, hold = Record(), trio.Event()
    async with trio.open_nursery() as nursery:
        await start(record, nursery, hold=hold)
        with trio.move_on_after(1):
            await record.use("impatient", is_change=True)
        nursery.start_soon(lambda: record.use("later", is_change=False))
        await wait_all_tasks_blocked()
        hold.set()
    assert record.order == ["first", "later"]


@pytest.mark.parametrize("_round", range(20))
async def test_a_turn_given_to_one_who_just_gave_up_goes_to_the_next(autojump_clock, _round):
    record, hold = Record(), trio.Event()
    scope = trio.CancelScope()

    async def impatient():
        with scope:
            await record.use("impatient", is_change=True)

    async with trio.open_nursery() as nursery:
        await start(record, nursery, hold=hold)
        nursery.start_soon(impatient)
        await wait_all_tasks_blocked()
        nursery.start_soon(lambda: record.use("next", is_change=True))
        await wait_all_tasks_blocked()
        # In one step: the turn is passed on and its receiver is cancelled; trio runs the two in any order.
        hold.set()
        scope.cancel()
    assert record.order == ["first", "next"]
    await record.use("free again", is_change=False)
    assert record.order[-1] == "free again"


async def test_a_failure_passes_the_turn_on(autojump_clock):
    turns = Turns()
    try:
        async with turns.one(is_change=True):
            raise KeyError
    except KeyError:
        async with turns.one(is_change=True):
            return
