"""One daemon of the demo, driven through the command line and the local API as a user would."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

PASSPHRASE = "a passphrase for the demo"
CHAPTER_S = 90.0


class DemoError(Exception):
    """A promise of the demo did not hold."""


class Node:
    """One ``marina`` daemon in a home of its own."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.home = root / name
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *words: str, passphrase: bool = False) -> list[str]:
        """Return the command line of ``marina`` for this home."""
        extra = ["--passphrase-fd", "0"] if passphrase else []
        return [sys.executable, "-m", "cli", "--home", str(self.home), *words, *extra]

    def init(self, **settings: str) -> None:
        """Create the node."""
        self.run("init", passphrase=True)
        self.configure(profile="development", **{"storage.quota": "8GB"}, **settings)

    def configure(self, **settings: str) -> None:
        """Write settings."""
        for key, value in settings.items():
            self.run("config", "set", key, value)

    def run(self, *words: str, passphrase: bool = False, secret: str | None = None) -> Any:
        """Run a command and return its last JSON object; a secret goes through descriptor 0."""
        if passphrase:
            secret = PASSPHRASE
        done = subprocess.run(
            [*self.command(*words, passphrase=passphrase), "--json"],
            input=b"" if secret is None else f"{secret}\n".encode(),
            capture_output=True,
            timeout=CHAPTER_S,
            check=False,
        )
        lines = done.stdout.decode().strip().splitlines()
        if done.returncode not in (0, 8):
            raise DemoError(
                f"{self.name}: marina {' '.join(words)}: {lines[-1:] or done.stderr.decode()[-400:]}"
            )
        return json.loads(lines[-1]) if lines else None

    def attempt(self, *words: str) -> int:
        """Run a command that may fail and return its exit code."""
        done = subprocess.run(
            [*self.command(*words), "--json"], input=b"", capture_output=True, timeout=CHAPTER_S, check=False
        )
        return done.returncode

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        self.process = subprocess.Popen(
            self.command("daemon", passphrase=True),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write((PASSPHRASE + "\n").encode())
        self.process.stdin.close()
        deadline = time.monotonic() + 30
        while not (self.home / "daemon.json").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"{self.name} did not start: see {self.home / 'logs' / 'marina.log'}")
            time.sleep(0.05)

    def facts(self) -> dict[str, Any]:
        """Return what the daemon says of itself."""
        return json.loads((self.home / "daemon.json").read_text())

    def address(self) -> str:
        """Return the first address with the peer id."""
        return self.run("id")["addresses"][0]

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=10)
        (self.home / "daemon.json").unlink(missing_ok=True)

    def stop(self) -> None:
        """Ask it to stop; insist if it does not."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=8)
            return
        self.process.kill()
        self.process.wait(timeout=5)

    def api(self, path: str) -> Any:
        """GET from the local API as the command line does."""
        return self._call(path, None)

    def post(self, path: str, body: dict[str, object]) -> Any:
        """POST to the local API as the command line does."""
        return self._call(path, json.dumps(body).encode())

    def _call(self, path: str, body: bytes | None) -> Any:
        token = (self.home / "api.token").read_text().strip()
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        request = Request(self.facts()["url"] + path, body, headers)
        with urlopen(request, timeout=30) as reply:
            return json.load(reply)["data"]
