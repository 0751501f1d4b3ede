"""The compiler and the test runner of the contracts, from the packages that `npm ci` puts in contracts/."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT / "contracts"
INSTALL_S = 300


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Programs that work on contracts/.

    Attributes:
        node: runs the pinned compiler.
        forge: runs the tests.
    """

    node: Path
    forge: Path

    def run(
        self, *command: str | Path, timeout_s: float, extra: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Return what a program in contracts/ printed and whether it succeeded; it asks for nothing."""
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(self.forge.parent), str(self.node.parent), os.environ["PATH"]]),
            "NO_COLOR": "1",
            **(extra or {}),
        }
        return subprocess.run(
            [str(each) for each in command],
            cwd=CONTRACTS,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


def find_toolchain() -> Toolchain:
    """Return the toolchain: installed first where all must be tested, skipped where nobody needs it."""
    everything = bool(os.environ.get("CI"))
    node = shutil.which("node")
    if node is None:
        refuse = pytest.fail if everything else pytest.skip
        refuse("node is not installed: only those who change the contracts need it")
    if not (CONTRACTS / "node_modules").is_dir():
        if not everything:
            pytest.skip("the compiler of the contracts is not installed: run npm ci in contracts/")
        install()
    found = sorted((CONTRACTS / "node_modules/@foundry-rs").glob("forge-*/bin/forge*"))
    if not found:
        refuse = pytest.fail if everything else pytest.skip
        refuse("npm has no forge for this machine: the contracts are tested on Linux, macOS and Windows")
    return Toolchain(Path(node), found[0])


def install() -> None:
    """Install the packages of contracts/package-lock.json, or fail the tests with npm's own words."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.fail("npm is not installed, so the contracts cannot be tested")
    done = subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund"],
        cwd=CONTRACTS,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"npm ci failed in contracts/: {done.stderr[-2000:]}")
