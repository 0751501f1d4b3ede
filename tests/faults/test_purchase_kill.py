"""kill -9 at every step of a payment: afterwards the chain has it once."""

from __future__ import annotations

import importlib.util
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
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
MORE = 1000
"""More payments than are made before a kill."""
HOMES, KILLS = 2, 11
"""So many homes, each killed so often before it may finish."""
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


class Payer:
    """The process that forks the ones that pay, and are killed."""

    def __init__(self, url):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD), url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self.said = queue.SimpleQueue()
        self.listener = threading.Thread(target=self._listen)
        self.listener.start()

    def _listen(self):
        for line in self.process.stdout:
            self.said.put(line.strip())

    def pay(self, home, count, *, alive_s=None):
        """Make so many payments from a home and return how the process ended; it is killed after so long."""
        self.process.stdin.write(f"{count} {home}\n")
        self.process.stdin.flush()
        child = int(self.said.get(timeout=DONE_S))
        assert self.said.get(timeout=DONE_S) == "started"
        if alive_s is not None:
            time.sleep(alive_s)
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        said = self.said.get(timeout=DONE_S)
        if said == "done":
            said = self.said.get(timeout=DONE_S)
        return int(said.removeprefix("ended "))

    def end(self):
        """End it, and whoever it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=DONE_S)
        self.listener.join(timeout=DONE_S)
        self.process.stdin.close()
        self.process.stdout.close()


def test_payments_of_a_process_that_is_killed_at_random_moments_are_each_made_once(tmp_path):
    kill_at_random(tmp_path, HOMES)


@pytest.mark.slow
def test_payments_survive_a_thousand_kills(tmp_path):
    kill_at_random(tmp_path, -(-1000 // KILLS))


def kill_at_random(folder, homes):
    rng, worth = random.Random(19), load_child().worth
    with dev_chain(folder) as chain:
        payer = Payer(chain.url)
        try:
            for number in range(homes):
                chain.fund(account_text(ALICE.account), COIN // 100)
                home = folder / f"home-{number}"
                first = int(chain.rpc("eth_blockNumber"), 16)
                for _ in range(KILLS):
                    assert payer.pay(home, MORE, alive_s=rng.uniform(0.0, 0.4)) == -signal.SIGKILL
                count = len(list(payments(chain, first))) + 2
                assert payer.pay(home, count) == 0
                assert sorted(payments(chain, first)) == [worth(n) for n in range(count)]
        finally:
            payer.end()


def payments(chain, first):
    """Yield what each transaction to the shop was worth, from behind a block."""
    head = int(chain.rpc("eth_blockNumber"), 16)
    for number in range(first + 1, head + 1):
        for sent in chain.rpc("eth_getBlockByNumber", hex(number), True)["transactions"]:
            if sent["to"] and sent["to"].lower() == account_text(SHOP).lower():
                yield int(sent["value"], 16)
