"""A current Kubo in a process of its own, offline on loopback, with its RPC: for tests and benchmarks.

It is built from the sources that tests/peers/kubo/go.sum names, once, into ``build/kubo``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tools.bench.child import ROOT, ChildError, die_with_parent
from tools.bench.peers import only_one

MODULE = ROOT / "tests" / "peers" / "kubo"
PACKAGE = "github.com/ipfs/kubo/cmd/ipfs"
_BUILD_S = 900.0
_START_S = 60.0
_STOP_S = 20.0
_RPC_PREFIX = "RPC API server listening on"
_OFFLINE: dict[str, Any] = {
    "Addresses.Swarm": ["/ip4/127.0.0.1/tcp/0"],
    "Addresses.API": "/ip4/127.0.0.1/tcp/0",
    "Addresses.Gateway": "/ip4/127.0.0.1/tcp/0",
    "AutoConf.Enabled": False,
    "AutoTLS.Enabled": False,
    "Bootstrap": [],
    "Discovery.MDNS.Enabled": False,
    "Routing.Type": "none",
    "Swarm.DisableNatPortMap": True,
    "Swarm.Transports.Network.QUIC": False,
}


def program(build: Path) -> Path:
    """Return the path of the program, building it first if need be, which takes minutes.

    Raises:
        ChildError: there is no Go toolchain, or it could not build.
    """
    path = build / "kubo" / "ipfs"
    with only_one(path.parent):
        if not path.exists():
            _build(path)
    return path


def _build(path: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise ChildError("a current Kubo is not built: install a Go toolchain, then run: make kubo")
    partial = path.with_suffix(".part")
    command = [go, "build", "-trimpath", "-buildvcs=false", "-o", str(partial), PACKAGE]
    done = subprocess.run(
        command, cwd=MODULE, capture_output=True, text=True, timeout=_BUILD_S, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise ChildError(f"Kubo could not be built: {done.stderr.strip()[-500:]}")
    partial.rename(path)


class KuboDaemon:
    """A Kubo daemon over one repository, which is made at the first start and kept between starts.

    Attributes:
        repo: its directory.
        rpc_url: ``http://127.0.0.1:PORT``; another one after each start unless a port was asked for.
        peer_id: the node's own.
        swarm_addr: where it listens, with its peer id.
        pid: the process that runs.
    """

    def __init__(
        self, ipfs: Path, repo: Path, *, rpc_port: int = 0, config: dict[str, Any] | None = None
    ) -> None:
        """Make the repository; nothing runs yet.

        Args:
            ipfs: the program.
            repo: a directory that may be new.
            rpc_port: a port that stays the same over restarts.
            config: further settings, dotted name to value.
        """
        self._ipfs = ipfs
        self.repo = repo
        self.rpc_url = ""
        self.peer_id = ""
        self.swarm_addr = ""
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread()
        if not (repo / "config").exists():
            self._run("init", "--empty-repo", "--profile=test")
            settings = {**_OFFLINE, **(config or {})}
            if rpc_port:
                settings["Addresses.API"] = f"/ip4/127.0.0.1/tcp/{rpc_port}"
            path = repo / "config"
            whole = json.loads(path.read_text())
            for name, value in settings.items():
                _set(whole, name.split("."), value)
            path.write_text(json.dumps(whole))

    @property
    def pid(self) -> int:
        """The process id; ChildError when it does not run."""
        if self._process is None:
            raise ChildError("this Kubo does not run")
        return self._process.pid

    def start(self) -> None:
        """Start the daemon and wait until it answers.

        Started in the main thread it also ends when this process is killed; in another thread it would end
        with that thread.

        Raises:
            ChildError: it did not start; with its last words.
        """
        is_main = threading.current_thread() is threading.main_thread()
        process = subprocess.Popen(
            [str(self._ipfs), "daemon"],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=die_with_parent if is_main else None,  # noqa: PLW1509 - two calls before exec
        )
        self._process = process
        lines: list[str] = []
        is_ready = threading.Event()

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.strip())
                if line.startswith("Daemon is ready"):
                    is_ready.set()
            process.stdout.close()
            is_ready.set()  # it ended

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()
        is_ready.wait(_START_S)
        address = next(
            (each.removeprefix(_RPC_PREFIX).lstrip(": ") for each in lines if each.startswith(_RPC_PREFIX)),
            None,
        )
        if address is None or process.poll() is not None:
            self.kill()
            raise ChildError(f"Kubo did not start: {' / '.join(lines[-3:])}")
        _, _, host, _, port = address.split("/")
        self.rpc_url = f"http://{host}:{port}"
        identity = self.rpc("id")
        self.peer_id = identity["ID"]
        self.swarm_addr = next(each for each in identity["Addresses"] if "/tcp/" in each)

    def rpc(self, path: str, *, timeout_s: float = 60.0, **params: Any) -> Any:
        """Return the JSON of an RPC call; ChildError with Kubo's words when it refuses."""
        answer = httpx.post(f"{self.rpc_url}/api/v0/{path}", params=params, timeout=timeout_s)
        if answer.status_code != httpx.codes.OK:
            raise ChildError(f"{path}: {answer.text[:500]}")
        return answer.json() if answer.content else None

    def kill(self) -> None:
        """End the process at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            self._process = None

    def stop(self) -> None:
        """End the process in its own way, or at once when that takes too long."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        self.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._ipfs), *arguments], env=self._environment(), capture_output=True, text=True,
            timeout=_START_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise ChildError(f"ipfs {arguments[0]}: {done.stderr.strip()[-300:]}")

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.repo.parent),
            "IPFS_PATH": str(self.repo),
        }


def _set(config: dict[str, Any], name: list[str], value: Any) -> None:
    for part in name[:-1]:
        config = config.setdefault(part, {})
    config[name[-1]] = value


if __name__ == "__main__":
    print(program(ROOT / "build"))
