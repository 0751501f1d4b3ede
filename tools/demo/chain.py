"""The development chain of the demo: a real ``marina chain dev`` process, asked over JSON-RPC."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tools.demo.node import DemoError

START_S = 30.0
DAY_S = 86_400


class DemoChain:
    """One chain in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "chain"
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until its contracts are there."""
        words = ["--home", str(self.folder / "home"), "chain", "dev", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli", *words, "--dir", str(self.folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError):
                self.rpc("eth_blockNumber")
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise DemoError("the development chain did not start: try 'marina chain dev'")
            time.sleep(0.1)

    def rpc(self, method: str, *params: object) -> Any:
        """Return the result of a JSON-RPC call."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = Request(self.url, body, {"content-type": "application/json"})
        with urlopen(request, timeout=30) as reply:
            answer = json.load(reply)
        if "error" in answer:
            raise DemoError(f"the chain refused {method}: {answer['error']['message']}")
        return answer["result"]

    def pass_time(self, seconds: int) -> None:
        """Let time pass on the chain."""
        self.rpc("evm_increaseTime", seconds)
        self.rpc("evm_mine")

    def stop(self) -> None:
        """End the process."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=8)
            return
        self.process.kill()
        self.process.wait(timeout=5)
