"""Search over a large catalogue: what ``tools/bench/catalogue.py`` measures, as rows of this report."""

from __future__ import annotations

import json
import subprocess
import sys

from tools.bench.child import ROOT
from tools.bench.report import SEARCH_HITS, SEARCH_P95, Measurement
from tools.bench.scale import Bench

LIMIT_S = 900.0


def measure(bench: Bench) -> list[Measurement]:
    """Run it in a process of its own; real artist names when the listening data lies beside the checkout."""
    tracks, queries = bench.count(100_000, least=1000), bench.count(2000, least=200)
    command = [
        sys.executable,
        "-m",
        "tools.bench.catalogue",
        "--tracks",
        str(tracks),
        "--queries",
        str(queries),
    ]
    data = ROOT.parent / "shared" / "data" / "lastfm-2k"
    if data.is_dir():
        command += ["--data", str(data)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=LIMIT_S, check=False)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    p95, hits = rows["one typo, p95"], rows["one typo, hit@10"]
    return [
        Measurement(SEARCH_P95, p95["value"], p95["how"] + bench.scale_note),
        Measurement(SEARCH_HITS, hits["value"], hits["how"] + bench.scale_note),
    ]
