"""Slither's findings in the contracts are the ones that somebody has read and explained."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.contract_tools import CONTRACTS, ROOT, Toolchain

ENVIRONMENT = ROOT / "build" / "slither-venv"
SLITHER = ENVIRONMENT / "bin" / "slither"
INSTALL_S = 600
ANALYSE_S = 600
ROW = re.compile(r"^\| ([\w-]+) \| (\S.*?) \| (\d+) \| (\S.*\S) \|$")


@pytest.fixture(scope="module")
def slither() -> Path:
    """Return the analyser: installed from its lock where all must be tested, else only if it is there."""
    if SLITHER.exists():
        return SLITHER
    if not os.environ.get("CI"):
        pytest.skip("slither is not installed: run make slither")
    lock = str(ROOT / "locks" / "slither.txt")
    for command in (
        [sys.executable, "-m", "venv", str(ENVIRONMENT)],
        [str(ENVIRONMENT / "bin/pip"), "install", "--quiet", "--no-deps", "--require-hashes", "-r", lock],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        if done.returncode != 0:
            pytest.fail(f"slither cannot be installed: {done.stderr[-2000:]}")
    return SLITHER


def explained() -> Counter[tuple[str, str]]:
    """Return (check, where) of every row of the triage with how many findings it explains."""
    rows = (ROW.match(line) for line in (CONTRACTS / "slither-triage.md").read_text("utf-8").splitlines())
    return Counter({(row[1], row[2]): int(row[3]) for row in rows if row is not None})


def place(finding: dict[str, object]) -> str:
    """Return what a finding is about: the part of its sentence before the first place in the sources."""
    found = re.match(r"(?:[A-Z]\w+ )?(.*?) \(src/", str(finding["description"]), re.DOTALL)
    assert found is not None, finding["description"]
    return found[1]


@pytest.mark.slow
def test_every_finding_is_explained(toolchain: Toolchain, slither: Path, tmp_path: Path):
    report = tmp_path / "slither.json"
    done = toolchain.run(
        slither,
        ".",
        "--json",
        report,
        timeout_s=ANALYSE_S,
        extra={"FOUNDRY_OUT": str(tmp_path / "out"), "FOUNDRY_CACHE_PATH": str(tmp_path / "cache")},
    )
    assert report.exists(), done.stderr[-2000:]
    result = json.loads(report.read_text("utf-8"))
    assert result["success"] is True, result["error"]
    assert "MusicLicensing" in done.stderr + done.stdout, "the contracts were not looked at"
    found = Counter((each["check"], place(each)) for each in result["results"]["detectors"])
    assert found - explained() == Counter(), "found, and not explained in contracts/slither-triage.md"
    assert explained() - found == Counter(), (
        "explained in contracts/slither-triage.md, and not found any more"
    )


def test_the_explanations_are_whole_sentences_in_order():
    lines = (CONTRACTS / "slither-triage.md").read_text("utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| check")]
    assert len(explained()) == len(rows)
    assert rows == sorted(rows)
    assert all(line.removesuffix(" |").endswith(".") for line in rows)
