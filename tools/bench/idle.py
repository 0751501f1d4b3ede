"""What a daemon with nothing to do costs: resident memory and processor time."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.support.daemons import daemons
from tools.bench.report import IDLE_CPU, IDLE_MEMORY, Measurement
from tools.bench.scale import Bench

SETTLE_S = 10.0


def measure(bench: Bench) -> list[Measurement]:
    """Start a fresh daemon, let it settle, and watch it."""
    watch_s = max(5.0, 20.0 * min(1.0, bench.scale))
    with daemons(bench.folder, "idle") as (node,):
        node.init()
        node.start()
        time.sleep(SETTLE_S)
        before_s = cpu_s(node.pid)
        time.sleep(watch_s)
        share = 100 * (cpu_s(node.pid) - before_s) / watch_s
        resident = _status(node.pid, "VmRSS") / 1000
        anonymous = _status(node.pid, "RssAnon") / 1000
    memory = f"VmRSS of a fresh daemon after {SETTLE_S + watch_s:.0f} s, of it {anonymous:.0f} MB anonymous"
    cpu = f"user and system time over {watch_s:.0f} s"
    return [Measurement(IDLE_MEMORY, resident, memory), Measurement(IDLE_CPU, share, cpu)]


def cpu_s(pid: int) -> float:
    """Return the seconds of user and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status(pid: int, name: str) -> float:
    """Return a figure of /proc/PID/status in kilobytes of 1,000 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1.024
    raise ValueError(name)
