"""The compiler and the test runner of the contracts, from the packages that `npm ci` puts in contracts/."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

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
    node = shutil.which("node")
    if node is None:
        refuse("node is not installed: only those who change the contracts need it")
    return Toolchain(Path(node), find_program("forge"))


def find_program(name: str) -> Path:
    """Return ``forge`` or ``anvil`` as npm brings it: installed first where all must be tested."""
    if not (CONTRACTS / "node_modules").is_dir():
        if not os.environ.get("CI"):
            pytest.skip(f"{name} is not installed: run npm ci in contracts/")
        try:
            install()
        except RuntimeError as err:
            pytest.fail(str(err))
    found = sorted((CONTRACTS / "node_modules/@foundry-rs").glob(f"{name}-*/bin/{name}*"))
    if not found:
        refuse(f"npm has no {name} for this machine: it has one for Linux, macOS and Windows")
    return found[0]


def refuse(reason: str) -> NoReturn:
    """Fail the test where all must be tested, or skip it."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def install() -> None:
    """Install the packages of contracts/package-lock.json, unless they are there.

    Raises:
        RuntimeError: npm is not installed, or in its own words why it did not.
    """
    if (CONTRACTS / "node_modules").is_dir():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("npm is not installed, so the contracts cannot be tested")
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
        raise RuntimeError(f"npm ci failed in contracts/: {done.stderr[-2000:]}")
