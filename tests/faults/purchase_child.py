"""Makes one payment after another, each once, and follows them, in a process that the test kills.

Started as ``python purchase_child.py URL COUNT``, it reads one home a line, forks a process that pays from
it (an import of web3 for each would take longer than the payments), and says that process's id, that it
has started, that it is done if it came so far, and how it ended. Payment number n is worth ``worth(n)`` and
has a key of its own. One that the journal has as confirmed is not made again, one that is unfinished is
waited for, one that was interrupted before it was signed is made again: what a person does who looks at
the list of transactions after a crash.
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
    for number in range(count):
        while not await pay_once(sender, number):
            pass


async def pay_once(sender, number):
    """Return whether a payment is made."""
    key = f"payment {number}"
    rows = [row for _, row in await sender._journal.page(limit=1000) if row.key == key]
    if rows and State(rows[0].state) is State.CONFIRMED:
        return True
    if rows and rows[0].is_live:  # by the time of a submission it may have ended well
        sent = rows[0]
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
        print("ended", pay_in_a_fork(Path(line.strip()), sys.argv[1], int(sys.argv[2])), flush=True)
