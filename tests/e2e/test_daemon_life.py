"""Starting, stopping, crashing: one home through everything that can happen to its daemon."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.daemons import (
    PASSPHRASE,
    Daemon,
    children,
    daemons,
    end,
    free_port,
    is_alive,
    music,
    wait_said,
)

STOP_S = 5.0


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Daemon]:
    """A home that does not exist yet."""
    with daemons(tmp_path, "home") as (node,):
        yield node


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Daemon(tmp_path_factory.mktemp("template") / "home")
    made.init()
    return made.home


@pytest.fixture
def settled(node: Daemon, template: Path) -> Daemon:
    """A home that ``marina init`` made; a copy, as sealing a vault is slow on purpose."""
    shutil.copytree(template, node.home)
    return node


def stalled_reader(url: str) -> socket.socket:
    """Return a connection that asked for a stream and reads only its first bytes."""
    parts = urlsplit(url)
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.settimeout(10)
    reader.connect((parts.hostname, parts.port))
    reader.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
    assert reader.recv(12) == b"HTTP/1.1 200"
    return reader


def test_up_makes_a_node_and_its_link_opens_the_player_exactly_once(node: Daemon, tmp_path: Path) -> None:
    song = music(tmp_path / "music", "First Light")[0]
    process = node.spawn("up", "--no-color", output=tmp_path / "said")
    node.process = process
    try:
        node.wait_ready()
        said = wait_said(tmp_path / "said", "Ctrl-C")
        assert len(re.findall(r"\b\d{1,2} [a-z]{3,8}\b", said)) >= 24
        assert re.search(r"storage +2\.0 GB of .* free", said)
        assert re.search(r"privacy +\w+", said)

        link = re.search(r"(http://127\.0\.0\.1:\d+)/#code=(\S+)", said)
        assert link is not None
        with httpx.Client(base_url=link[1], trust_env=False, timeout=10) as page:
            assert page.get("/").headers["content-type"].startswith("text/html")
            assert page.get("/api/v1/status").status_code == 401
            opened = page.post("/api/v1/session", json={"code": link[2]})
            assert opened.status_code == 201, opened.text
            token = opened.json()["data"]["accessToken"]
            assert page.get("/api/v1/status", headers={"authorization": f"Bearer {token}"}).is_success
            assert page.post("/api/v1/session", json={"code": link[2]}).status_code in (401, 403)

        published = node.run("publish", str(song))
        url = node.run("play", published["release"], "--url", "--quality", "original")["url"]
        left = children(process.pid)
        with stalled_reader(url):
            assert node.stop(signal.SIGINT) < STOP_S
        assert process.returncode == 0
        assert not any(is_alive(pid) for pid in left)
        assert not (node.home / "daemon.json").exists()
    finally:
        end(process)


def test_daemon_stops_on_sigterm_under_a_stalled_reader_and_leaves_no_process(
    settled: Daemon, tmp_path: Path
) -> None:
    node = settled
    node.start()
    song = music(tmp_path / "music", "First Light")[0]
    track = node.run("publish", str(song))["tracks"][0]["id"]
    readers = [stalled_reader(node.run("play", track, "--url")["url"]) for _ in range(2)]
    left = children(node.pid)
    assert node.stop(signal.SIGTERM) < STOP_S
    for reader in readers:
        reader.close()
    assert node.process is not None
    assert node.process.returncode == 0
    assert not any(is_alive(pid) for pid in left)


def test_two_daemons_a_stale_lock_and_a_port_that_is_taken(settled: Daemon) -> None:
    node = settled
    node.start()
    second = node.try_run("daemon", "--passphrase-fd", "0", secret=PASSPHRASE)
    assert second.code == 1, second
    assert f"process {node.pid}" in second.out + second.err
    assert "Traceback" not in second.err
    assert node.run("id")["peer"] == node.facts()["peer"]

    # Killed: its lock file and its address stay behind, and neither keeps the next daemon out.
    node.kill()
    assert (node.home / "daemon.lock").read_text().strip() == str(node.pid)
    assert node.try_run("status").code == 3
    port = free_port()
    node.start("--set", f"api.port={port}")
    assert node.facts()["url"] == f"http://127.0.0.1:{port}"
    assert node.run("stop")["stopped"]
    assert node.process is not None
    assert node.process.wait(timeout=STOP_S) == 0
    assert node.try_run("status").code == 3

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = node.try_run(
            "daemon", "--passphrase-fd", "0", "--set", f"api.port={port}", secret=PASSPHRASE
        )
        assert refused.code not in (0, 8), refused
        assert str(port) in refused.out + refused.err
        assert "Traceback" not in refused.err
        node.start()  # without a wish of its own it takes a free one
        assert node.facts()["url"] != f"http://127.0.0.1:{port}"


def test_wrong_passphrases_end_with_exit_code_5_and_say_so(settled: Daemon) -> None:
    node = settled
    for words in (["daemon"], ["up"], ["join", "marina:aaaa"]):
        answer = node.try_run(*words, "--passphrase-fd", "0", secret="not the passphrase")
        assert answer.code == 5, answer
        assert "passphrase" in answer.error
    again = node.try_run("init", "--passphrase-fd", "0", secret=PASSPHRASE)
    assert again.code == 2
    assert "marina up" in again.error
    weak = Daemon(node.home.with_name("weak"))
    assert weak.try_run("init", "--passphrase-fd", "0", secret="short").code in (2, 5)
    assert not (weak.home / "vault.json").exists()


def test_after_a_kill_everything_acknowledged_is_there_and_an_interrupted_publish_goes_on(
    settled: Daemon, tmp_path: Path
) -> None:
    node = settled
    node.start()
    one = music(tmp_path / "one", "First Light")[0]
    release = node.run("publish", str(one), "--title", "One")["release"]
    token = node.run("token", "create", "--scope", "read_music", "--ttl", "1h")["token"]

    music(tmp_path / "many", *(f"Song Number {n}" for n in range(1, 6)))
    said = tmp_path / "said"
    publishing = node.spawn("publish", str(tmp_path / "many"), "--json", secret=None, output=said)
    wait_said(said, '"done": 2')
    node.kill()
    end(publishing)

    node.start()
    with node.client(token) as api:
        assert api.get("/api/v1/status").json()["data"]["library"]["releases"] >= 1
    url = node.run("play", release, "--url", "--quality", "original")["url"]
    assert httpx.get(url, trust_env=False).content == one.read_bytes()
    started_s = time.monotonic()
    done = node.run("publish", str(tmp_path / "many"))
    assert len(done["tracks"]) == 5
    assert time.monotonic() - started_s < 30
    assert {each["title"] for each in node.run("release", "list")["items"]} >= {"One"}
    assert len(node.run("release", "list")["items"]) == 2
    assert node.run("repo", "verify")["damaged"] == 0


def test_a_home_that_others_may_read_is_refused_with_the_command_that_mends_it(settled: Daemon) -> None:
    node = settled
    node.start()
    node.stop()
    assert stat.S_IMODE(node.home.stat().st_mode) == 0o700
    for path in node.home.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    for path, mode in ((node.home, 0o750), (node.home / "vault.json", 0o640)):
        before = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode)
        answer = node.try_run("daemon", "--passphrase-fd", "0", secret=PASSPHRASE)
        assert answer.code == 5, answer
        assert re.search(r"chmod \S+ \S+", answer.error), answer.error
        assert str(path) in answer.error
        path.chmod(before)
