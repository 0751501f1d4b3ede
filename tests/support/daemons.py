"""Real ``marina`` daemons in homes of their own on loopback, driven as a user drives them.

Every wait has an end, every process is stopped by the handle that started it, and the passphrase goes
through a pipe. Nothing of Marina is imported: what is tested is the installed command.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.peers_installed import kubo
from tools.bench.kubo_daemon import KuboDaemon

PASSPHRASE = "seven blue herons at noon"
COMMAND_S = 60.0
START_S = 40.0
STOP_S = 8.0
IS_IN_KUBO = os.environ.get("MARINA_TEST_BACKEND") == "kubo"
NEEDS_FILES = pytest.mark.skipif(IS_IN_KUBO, reason="it looks into the files of the embedded store")
MARINA = Path(sys.executable).with_name("marina")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs the tests in the background lets them ignore Ctrl-C, and commands would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one command said.

    Attributes:
        code: its exit code.
        out: standard output.
        err: standard error.
    """

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON objects of standard output, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def data(self) -> Any:
        """The last JSON object of standard output."""
        return self.events[-1]

    @property
    def error(self) -> str:
        """The message of the error, from ``--json`` output."""
        return str(self.data["error"]["message"])


def environment() -> dict[str, str]:
    """Return an environment without settings of the machine that runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MARINA_")}
    return {**kept, "NO_COLOR": "1", "MARINA_PROFILE": "development"}


class Daemon:
    """One home and, while it runs, its daemon.

    Attributes:
        home: where it lives.
        process: the daemon, the last one that was started.
        words: of the account, once ``init`` made it.
        kubo: where it keeps its blocks, with ``MARINA_TEST_BACKEND=kubo`` in the environment.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process: subprocess.Popen[bytes] | None = None
        self.words: list[str] = []
        self.kubo: KuboDaemon | None = None

    def command(self, *words: str) -> list[str]:
        """Return the command line of the installed command for this home."""
        return [str(MARINA), "--home", str(self.home), *words]

    def try_run(
        self, *words: str, secret: str | None = None, is_json: bool = True, timeout_s: float = COMMAND_S
    ) -> Answer:
        """Run a command to its end; ``secret`` goes through descriptor 0, never the command line."""
        done = subprocess.run(
            [*self.command(*words), *(["--json"] if is_json else [])],
            input=b"" if secret is None else f"{secret}\n".encode(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env=environment(),
        )
        return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())

    def run(self, *words: str, secret: str | None = None, code: int = 0) -> Any:
        """Run a command that ends with ``code`` and return its last JSON object."""
        answer = self.try_run(*words, secret=secret)
        assert answer.code == code, f"marina {' '.join(words)}: {answer}"
        return answer.data if answer.out else None

    def init(self, **settings: str) -> None:
        """Make the identity and write settings, dots written as two underscores."""
        self.words = self.run("init", "--passphrase-fd", "0", secret=PASSPHRASE)["words"]
        for key, value in settings.items():
            self.run("config", "set", key.replace("__", "."), value)
        if IS_IN_KUBO:
            self._keep_blocks_in_kubo()

    def _keep_blocks_in_kubo(self) -> None:
        self.kubo = KuboDaemon(kubo(), self.home.with_name(self.home.name + "-kubo"))
        self.kubo.start()
        self.run("config", "set", "ipfs.kubo", self.kubo.rpc_url)
        self.run("config", "set", "storage.backend", "kubo")

    def spawn(
        self, *words: str, secret: str | None = PASSPHRASE, output: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a long-running command; the caller ends it with ``end``.

        Args:
            words: the command.
            secret: the passphrase it gets, if any.
            output: file for what it prints on both streams.
        """
        with (output or Path(os.devnull)).open("ab") as sink:
            process = subprocess.Popen(
                self.command(*words, *([] if secret is None else ["--passphrase-fd", "0"])),
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=sink,
                env=environment(),
                start_new_session=True,
            )
        assert process.stdin is not None
        if secret is not None:
            process.stdin.write(f"{secret}\n".encode())
        process.stdin.close()
        process.stdin = None
        return process

    def start(self, *options: str) -> None:
        """Start the daemon and wait until it is ready."""
        secret = None if "--locked" in options else PASSPHRASE
        self.process = self.spawn("daemon", *options, secret=secret)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the daemon of this home answers."""
        assert self.process is not None
        deadline_s = time.monotonic() + START_S
        while not self._answers():
            assert self.process.poll() is None, f"the daemon ended: {self.log()[-1500:]}"
            assert time.monotonic() < deadline_s, f"the daemon is not ready: {self.log()[-1500:]}"
            time.sleep(0.03)

    def _answers(self) -> bool:
        try:
            facts = self.facts()
            return facts["pid"] == self.pid and httpx.get(facts["url"] + "/livez", timeout=1.0).is_success
        except (OSError, ValueError, httpx.HTTPError):
            return False

    @property
    def pid(self) -> int:
        """Process id of the daemon."""
        assert self.process is not None
        return self.process.pid

    def facts(self) -> dict[str, Any]:
        """Return what the daemon wrote about itself."""
        facts: dict[str, Any] = json.loads((self.home / "daemon.json").read_text())
        return facts

    def address(self) -> str:
        """Return where other nodes reach it, peer id included."""
        return str(self.run("id")["addresses"][0])

    def log(self) -> str:
        """Return the whole log."""
        path = self.home / "logs" / "marina.log"
        return path.read_text() if path.exists() else ""

    def client(self, token: str | None = None) -> httpx.Client:
        """Return a client of the local API, with the command line's token unless another is given."""
        token = token or (self.home / "api.token").read_text().strip()
        return httpx.Client(
            base_url=self.facts()["url"],
            headers={"authorization": f"Bearer {token}"},
            timeout=30.0,
            trust_env=False,
        )

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=STOP_S)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Ask it to stop and return how many seconds it took; kills it when it does not."""
        if self.process is None or self.process.poll() is not None:
            return 0.0
        return end(self.process, number)


def start_all(*nodes: Daemon) -> None:
    """Make the homes and start their daemons, side by side."""
    with ThreadPoolExecutor(len(nodes)) as pool:
        list(pool.map(lambda node: (node.init(), node.start()), nodes))


def end(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> float:
    """Signal a process and return the seconds until it ended; kill it after ``STOP_S``."""
    started_s = time.monotonic()
    process.send_signal(number)
    try:
        process.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=STOP_S)
    return time.monotonic() - started_s


@contextlib.contextmanager
def daemons(root: Path, *names: str) -> Iterator[list[Daemon]]:
    """Make homes under ``root``; whatever runs on them at the end is stopped."""
    nodes = [Daemon(root / name) for name in names]
    try:
        yield nodes
    finally:
        for node in nodes:
            if node.process is not None and node.process.poll() is None:
                node.process.send_signal(signal.SIGTERM)
        for node in nodes:
            node.stop()
            if node.kubo is not None:
                node.kubo.kill()


def wait_said(output: Path, text: str, timeout_s: float = START_S) -> str:
    """Return what a process wrote so far once it contains ``text``."""
    deadline_s = time.monotonic() + timeout_s
    while text not in (said := output.read_text() if output.exists() else ""):
        assert time.monotonic() < deadline_s, f"{text!r} was not printed: {said}"
        time.sleep(0.01)
    return said


def children(pid: int) -> list[int]:
    """Return the ids of a process's living children."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(each) for each in task.read_text().split()]
    return found


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    """Return a TCP port of the loopback that nobody listened on a moment ago."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def music(folder: Path, *titles: str) -> list[Path]:
    """Fill a folder with real songs of half a megabyte under the given titles, and return the files."""
    import immich_memories_music

    songs = sorted(Path(immich_memories_music.__file__).parent.rglob("*.opus"))
    folder.mkdir(parents=True)
    files = [folder / f"{title}.opus" for title in titles]
    for file, song in zip(files, songs, strict=False):
        file.write_bytes(song.read_bytes())
    return files
