"""How long ``marina --version`` takes as a whole process."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from tools.bench.report import VERSION, Measurement
from tools.bench.scale import Bench
from tools.bench.stats import spread


def measure(bench: Bench) -> list[Measurement]:
    """Run it ten times after one that warms the page cache."""
    marina = Path(sys.executable).with_name("marina")
    times: list[float] = []
    for _ in range(1 + bench.count(10, least=5)):
        started_s = time.perf_counter()
        subprocess.run([marina, "--version"], check=True, capture_output=True, timeout=30)
        times.append(time.perf_counter() - started_s)
    how = f"median of {len(times) - 1} process runs, seconds {spread(times[1:], 3)}"
    return [Measurement(VERSION, statistics.median(times[1:]), how)]
