"""kill -9 at any moment (T19): what was acknowledged is there afterwards, nothing wrong is served."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from marina.cid import cid_of
from storage.blocks.embedded import EmbeddedBlockStore
from storage.kv import LevelKv
from storage.quota import Quota
from storage.repo import Repo

CHILD = Path(__file__).with_name("kill_child.py")
RUNS = int(os.environ.get("MARINA_FAULT_RUNS", "10"))
HOME_RUNS = 25
"""Kills of one home before it is replaced, so that the disk of the tests stays small."""
RESTART_LIMIT_S = 5.0


def load_child():
    spec = importlib.util.spec_from_file_location("kill_child", CHILD)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_and_kill(home, seed, alive_s):
    """Return the lines that a child wrote before it was killed ``alive_s`` after its first one."""
    command = [sys.executable, str(CHILD), str(home), seed]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        try:
            first = child.stdout.readline()
            killer = threading.Timer(alive_s, child.kill)
            killer.start()
            rest = child.stdout.read().split("\n")
            killer.join()
        finally:
            child.kill()
    assert child.returncode == -9, "the child ended by itself"
    return [first.strip(), *rest[:-1]]  # the last piece is empty, or a line cut off by the kill


async def check(home, promises, module):
    """Return how many promises were kept; fail on the first that was broken."""
    started = time.monotonic()
    kv = LevelKv(home / "meta")
    store = EmbeddedBlockStore(kv=kv, directory=home / "blobs", quota=Quota(10**11))
    await store.open()
    assert time.monotonic() - started < RESTART_LIMIT_S
    renditions = {}
    for seed, line in promises:
        kind, number, *rest = line.split()
        if kind == "block":
            data = module.make_block(seed, number)
            assert await store.get(cid_of(data)) == data
            continue
        if (seed, number) not in renditions:
            renditions[seed, number] = module.make_rendition(seed, number)
        layout, segments = renditions[seed, number]
        index = int(rest[0])
        assert await store.get_segments(layout.root, [index]) == [segments[index]], f"{seed} {line}"
    async with aclosing(Repo(store).verify()) as steps:
        last = [step async for step in steps][-1]
    assert last.damaged == (), "the index named segments whose bytes are not there"
    assert not list((home / "blobs" / "staging").iterdir())
    before = await store.stat()
    await store._index.recount()
    assert await store.stat() == before, "totals and rows disagree"
    await store.close()
    await kv.close()


async def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path):
    module, rng = load_child(), random.Random(19)
    total = 0
    for start in range(0, RUNS, HOME_RUNS):
        home = tmp_path / f"home-{start}"
        home.mkdir()
        earlier = []
        for number in range(start, min(RUNS, start + HOME_RUNS)):
            lines = run_and_kill(home, f"run{number}", rng.uniform(0.0, 0.25))
            promises = [(f"run{number}", line) for line in lines]
            await check(home, promises + rng.sample(earlier, min(len(earlier), 20)), module)
            earlier += promises
            total += len(lines)
        shutil.rmtree(home)
    assert total > 5 * RUNS, "the child was too slow to test anything"


@pytest.mark.slow
async def test_a_home_with_many_renditions_opens_fast(tmp_path):
    kv = LevelKv(tmp_path / "meta")
    module = load_child()
    store = EmbeddedBlockStore(kv=kv, directory=tmp_path / "blobs", quota=Quota(10**11))
    await store.open()
    for number in range(1500):
        layout, segments = module.make_rendition("many", number)
        await store.declare(layout)
        await store.put_segments(layout.root, [(0, segments[0])])
    await store.close()
    started = time.monotonic()
    again = EmbeddedBlockStore(kv=kv, directory=tmp_path / "blobs", quota=Quota(10**11))
    await again.open()
    assert time.monotonic() - started < 2.0
    await kv.close()
