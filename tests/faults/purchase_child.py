"""Makes one payment after another, each once, and follows them, in a process that the test kills.

Started as ``python purchase_child.py URL``, it reads a count and a home a line, forks a process that makes
so many payments from it (an import of web3 for each would take longer than the payments), and says that
process's id, that it has started, that it is done if it came so far, and how it ended. Payment number n is
worth ``worth(n)`` and has a key of its own. One that the journal has as confirmed is not made again, one
that is unfinished is waited for, one that was interrupted before it was signed is made again: what a person
does who looks at the list of transactions after a crash. (That list has seconds: of two rows of one second
either may come first.)
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from random import Random

import trio
import web3  # noqa: F401 - loaded once, before the forks

from chain.amount import Amount
from chain.errors import TransactionFailedError
from chain.journal import State
from chain.profiles import PROFILES
from chain.rpc import RpcPool
from chain.spending import Limits
from marina.clock import SystemClock
from storage.kv import LevelKv
from tests.support.senders import ALICE, DEV, make_sender, payment

MUCH = Amount(10**18, DEV)


def worth(number):
    """Return the wei of a payment."""
    return 1_000_000 + number


async def pay_all(sender, count):
    """Make every payment that is not made yet."""
    made = {row.key for row in await rows_of(sender) if State(row.state) is State.CONFIRMED}
    for number in range(count):
        if f"payment {number}" not in made:
            while not await pay_once(sender, number):
                pass


async def rows_of(sender):
    """Return what the journal has, the newest first."""
    return [row for _, row in await sender._journal.page(limit=1000)]


async def pay_once(sender, number):
    """Return whether a payment is made."""
    key = f"payment {number}"
    rows = [row for row in await rows_of(sender) if row.key == key]
    if any(State(row.state) is State.CONFIRMED for row in rows):
        return True
    live = next((row for row in rows if row.is_live), None)
    if live is not None:  # by the time of a submission it may have ended well
        sent = live
    else:
        sent = await sender.submit(payment(key, worth(number)), account=ALICE.account)
    with suppress(TransactionFailedError):  # interrupted before it was signed
        await sender.wait(sent.id)
    return False


async def main(home, url, count):
    """Pay until everything is paid."""
    kv, clock = LevelKv(home), SystemClock()
    rpc = RpcPool(endpoints=[url], profile=PROFILES["dev"], clock=clock, rng=Random(1))
    sender = make_sender(rpc, kv, clock=clock, limits=Limits((MUCH,), (MUCH,)))
    async with trio.open_nursery() as nursery:
        await nursery.start(sender.run)
        print("started", flush=True)
        await pay_all(sender, count)
        nursery.cancel_scope.cancel()
    await rpc.aclose()
    await kv.close()
    print("done", flush=True)


def pay_in_a_fork(home, url, count):
    """Return how a process ended that pays from a home."""
    child = os.fork()
    if child == 0:
        try:
            trio.run(main, home, url, count)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    for line in sys.stdin:
        count, home = line.strip().split(" ", 1)
        print("ended", pay_in_a_fork(Path(home), sys.argv[1], int(count)), flush=True)
