"""The contracts are compiled to what is committed, pass their own tests, and cost what is committed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.contract_tools import CONTRACTS, Toolchain

COMPILE_S = 120
FORGE_S = 300
LEAST_TESTS = 200
LINES_PERCENT = 98.0
BRANCHES_PERCENT = 95.0


def test_the_committed_artifacts_are_what_the_sources_compile_to(toolchain: Toolchain):
    done = toolchain.run(toolchain.node, "tools/compile.mjs", "--check", timeout_s=COMPILE_S)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "ok\n"


def test_the_contracts_pass_their_tests_at_the_committed_gas(toolchain: Toolchain):
    done = toolchain.run(
        toolchain.forge,
        "test",
        "--offline",
        "--gas-snapshot-check=true",
        "--gas-snapshot-emit=false",
        timeout_s=FORGE_S,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) tests passed, 0 failed, 0 skipped", done.stdout)
    assert found is not None, done.stdout[-1000:]
    assert int(found[1]) >= LEAST_TESTS


@pytest.mark.slow
def test_the_tests_reach_nearly_every_line_and_branch(toolchain: Toolchain, tmp_path):
    report = tmp_path / "lcov.info"
    done = toolchain.run(
        toolchain.forge,
        "coverage",
        "--offline",
        # Without the optimiser contracts are larger and dearer, and random walks take minutes.
        "--no-match-contract",
        "Gas|Invariant",
        "--no-match-test",
        "CanBeInitialised",
        "--report",
        "lcov",
        "--report-file",
        report,
        timeout_s=2 * FORGE_S,
        extra=fresh(tmp_path),
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    lines, branches = coverage(report.read_text("utf-8"))
    assert lines[1] > 400, "the report is not about the contracts"
    assert 100 * lines[0] / lines[1] >= LINES_PERCENT, lines
    assert 100 * branches[0] / branches[1] >= BRANCHES_PERCENT, branches


def fresh(folder: Path) -> dict[str, str]:
    """Return settings: forge leaves contracts/out alone and tries each property a few times only."""
    return {
        "FOUNDRY_OUT": str(folder / "out"),
        "FOUNDRY_CACHE_PATH": str(folder / "cache"),
        "FOUNDRY_FUZZ_RUNS": "16",
    }


def coverage(text: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (hit, found) lines and branches of contracts/src in an lcov report."""
    counts = dict.fromkeys(("LH", "LF", "BRH", "BRF"), 0)
    ours = False
    for row in text.splitlines():
        name, _, value = row.partition(":")
        if name == "SF":
            ours = value.startswith("src/") or "/contracts/src/" in value
        elif ours and name in counts:
            counts[name] += int(value)
    return (counts["LH"], counts["LF"]), (counts["BRH"], counts["BRF"])


def test_the_sources_are_formatted(toolchain: Toolchain):
    done = toolchain.run(toolchain.forge, "fmt", "--check", timeout_s=60)
    assert done.returncode == 0, done.stdout[-2000:]


def test_what_people_do_costs_no_more_than_promised():
    costs: dict[str, int] = {}
    for path in (CONTRACTS / "snapshots").glob("*.json"):
        costs |= {name: int(gas) for name, gas in json.loads(path.read_text("utf-8")).items()}
    promised = {
        "purchase native": 112_000,
        "renewal native": 77_000,
        "purchase ERC-20": 140_000,
        "purchase with permit": 170_000,
        "register, 3 splits": 175_000,
        "anchor keybox": 60_000,
        "refund native": 90_000,
        "propose": 325_000,
        "castVote, first, reaches the quorum": 125_000,
        "castVote, second": 125_000,
        "castVote, first against": 125_000,
    }
    assert {name: costs[name] for name in promised if costs[name] > promised[name]} == {}
