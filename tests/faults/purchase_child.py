"""Makes one payment after another, each once, and follows them; the test kills it.

Started as ``python purchase_child.py HOME URL COUNT``. Payment number n is worth ``worth(n)`` and has a key
of its own. One that the journal knows as confirmed is not made again, one that was interrupted before
it was signed is: what a person does who looks at the list of transactions after a crash.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import trio

from chain.amount import Amount
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
    rows = [row for _, row in await sender._journal.page(limit=10_000)]
    known = {row.key: State(row.state) for row in reversed(rows)}
    for number in range(count):
        key = f"payment {number}"
        if known.get(key) is State.CONFIRMED:
            continue
        sent = await sender.submit(payment(key, worth(number)), account=ALICE.account)
        await sender.wait(sent.id)


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


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
