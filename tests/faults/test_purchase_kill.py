"""kill -9 at every step of a payment: afterwards the chain has it once."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio

from chain.journal import State
from marina.ids import account_text
from storage.kv import MemoryKv
from tests.support.chains import dev_chain
from tests.support.coin_chain import COIN
from tests.support.senders import ALICE, SHOP, Rig

CHILD = Path(__file__).with_name("purchase_child.py")
ROOT = Path(__file__).parents[2]
RUNS = min(int(os.environ.get("MARINA_FAULT_RUNS", "1")), 40)
PAYMENTS = 12
KILLS = 3
"""Of one home, before it may finish."""
DONE_S = 60.0


class Killed(BaseException):
    """The process is gone; nothing may catch it."""


class Mortal:
    """Counts steps and dies at one of them, before it or after it took effect."""

    def __init__(self, step, *, is_after):
        self.left = step
        self.is_after = is_after
        self.steps = 0

    def before(self):
        self.steps += 1
        if not self.is_after and self.steps == self.left:
            raise Killed

    def after(self):
        if self.is_after and self.steps == self.left:
            raise Killed


class MortalKv(MemoryKv):
    """A store whose process dies at a write."""

    def __init__(self, mortal):
        super().__init__()
        self.mortal = mortal

    async def write(self, batch):
        self.mortal.before()
        await super().write(batch)
        self.mortal.after()


def make_mortal(rig, mortal, *, is_store):
    """Let the process die at a write, or at a request."""
    if is_store:
        rig.kv = MortalKv(mortal)
    else:
        answer = rig.chain.answer

        def answered(method, params):
            mortal.before()
            result = answer(method, params)
            mortal.after()
            return result

        rig.wire.answer = answered
    rig.restarted()


async def live_once(rig):
    """Pay, and follow it to the end."""
    async with rig.running() as sender:
        rows = [row for _, row in await sender._journal.page()]
        if not any(row.is_live or State(row.state) is State.CONFIRMED for row in rows):
            await rig.pay("a")
        for _ in range(6):
            await rig.blocks(1)


def was_killed(err):
    """Return whether a process ended by being killed and by nothing else."""
    if isinstance(err, BaseExceptionGroup):
        return all(was_killed(each) for each in err.exceptions)
    return isinstance(err, Killed)


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("is_store", [False, True], ids=["request", "write"])
async def test_a_payment_that_is_killed_at_any_step_is_made_once(is_store, is_after, autojump_clock):
    step, deaths = 0, 0
    while True:
        step += 1
        rig = Rig()
        mortal = Mortal(step, is_after=is_after)
        make_mortal(rig, mortal, is_store=is_store)
        try:
            await live_once(rig)
        except BaseException as err:
            if not was_killed(err):
                raise
            deaths += 1
        if mortal.steps < step:
            break
        rig.chain.mine()
        await trio.sleep(5)
        rig.wire.answer = rig.chain.answer
        rig.restarted()
        await live_once(rig)
        await live_once(rig)
        assert rig.paid() == [COIN], f"killed at step {step}"
        assert (await rig.sender._guard.spent())[b""] == COIN
    assert deaths == step - 1 >= (4 if is_store else 15)


def load_child():
    spec = importlib.util.spec_from_file_location("purchase_child", CHILD)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(home, url):
    command = [sys.executable, str(CHILD), str(home), url, str(PAYMENTS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def kill_after(child, alive_s):
    """Return whether the child was still at work when it was killed."""
    try:
        assert child.stdout.readline() == "started\n"
        killer = threading.Timer(alive_s, child.kill)
        killer.start()
        child.stdout.read()
        killer.join()
    finally:
        child.kill()
        child.wait(timeout=DONE_S)
        child.stdout.close()
    return child.returncode == -9


def test_payments_of_a_process_that_is_killed_at_random_moments_are_each_made_once(tmp_path):
    rng, worth = random.Random(19), load_child().worth
    with dev_chain(tmp_path) as chain:
        chain.fund(account_text(ALICE.account))
        kills = 0
        for number in range(RUNS):
            home = tmp_path / f"home-{number}"
            first = int(chain.rpc("eth_blockNumber"), 16)
            for _ in range(KILLS):
                kills += kill_after(start(home, chain.url), rng.uniform(0.0, 0.4))
            child = start(home, chain.url)
            said, _ = child.communicate(timeout=DONE_S)
            assert said == "started\ndone\n"
            assert sorted(payments(chain, first)) == [worth(n) for n in range(PAYMENTS)]
        assert kills, "no child was killed while it paid"


def payments(chain, first):
    """Yield what each transaction to the shop was worth, from behind a block."""
    head = int(chain.rpc("eth_blockNumber"), 16)
    for number in range(first + 1, head + 1):
        for sent in chain.rpc("eth_getBlockByNumber", hex(number), True)["transactions"]:
            if sent["to"] and sent["to"].lower() == account_text(SHOP).lower():
                yield int(sent["value"], 16)
