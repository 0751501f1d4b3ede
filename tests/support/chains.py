"""A real ``marina chain dev`` process on a free port, started and stopped by its handle.

Usage::

    chain = DevChain(tmp_path / "chain")
    chain.start()          # ready when it returns
    chain.rpc("eth_blockNumber")
    chain.kill()           # SIGKILL; start() again goes on from the same folder
    chain.stop()

or ``with dev_chain(tmp_path) as chain:``. Nothing of Marina's chain code is imported.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.support.daemons import MARINA, end, environment, free_port

START_S = 30.0


class RpcError(AssertionError):
    """The chain answered with an error.

    Attributes:
        code: JSON-RPC code.
        data: hex of revert data, or None.
    """

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code = error["code"]
        self.message = error["message"]
        self.data = error.get("data")


class DevChain:
    """One chain's folder and, while it runs, its process.

    Attributes:
        folder: where the chain is kept.
        port: of 127.0.0.1, the same at every start.
        process: the last one that was started.
        facts: what it said about itself when it was ready.
        ready_s: how long the last start took.
    """

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.process: subprocess.Popen[str] | None = None
        self.facts: dict[str, Any] = {}
        self.ready_s = 0.0

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def contracts(self) -> dict[str, str]:
        """Address by contract name."""
        found: dict[str, str] = self.facts["contracts"]
        return found

    def command(self, *options: str) -> list[str]:
        """Return the command line."""
        return [
            *(str(MARINA), "--home", str(self.folder / "home"), "--json", "chain", "dev"),
            *("--port", str(self.port), "--dir", str(self.folder), *options),
        ]

    def start(self, *options: str) -> DevChain:
        """Start the process and return once it answers."""
        started_s = time.monotonic()
        with tempfile.TemporaryFile("w+") as said:
            self.process = subprocess.Popen(
                self.command(*options),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                env=environment(),
                start_new_session=True,
                text=True,
            )
            assert self.process.stdout is not None
            with self.process.stdout as out:
                line = out.readline()  # all it prints; ends with the process at the latest
            self.ready_s = time.monotonic() - started_s
            said.seek(0)
            assert line, f"the chain did not start: {said.read()}"
        self.facts = json.loads(line)
        assert "url" in self.facts, f"the chain did not start: {line}"
        return self

    @property
    def pid(self) -> int:
        """Process id."""
        assert self.process is not None
        return self.process.pid

    def rpc(self, method: str, *params: Any, timeout_s: float = 30.0) -> Any:
        """Return the result of one call; RpcError if the chain answers with an error."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = httpx.post(self.url, json=body, timeout=timeout_s, trust_env=False).json()
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def fund(self, account: str, wei: int | None = None) -> str:
        """Give an address test coins (100 at most a day) and return the transaction's hash."""
        return str(self.rpc("marina_faucet", account, *([] if wei is None else [hex(wei)])))

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=START_S)

    def stop(self) -> float:
        """Ask it to stop and return the seconds it took; does nothing when it does not run."""
        if self.process is None or self.process.poll() is not None:
            return 0.0
        return end(self.process)  # type: ignore[arg-type]


@contextlib.contextmanager
def dev_chain(folder: Path) -> Iterator[DevChain]:
    """Run a fresh chain in ``folder / "chain"`` while the block runs."""
    chain = DevChain(folder / "chain")
    try:
        yield chain.start()
    finally:
        chain.stop()
