"""A Kubo node beside a Marina node: it keeps what is published, then holds all of the node's blocks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.daemons import Daemon, daemons, free_port, music, start_all
from tests.support.kubo import running_kubo
from tools.bench.kubo_daemon import KuboDaemon

SETTLE_S = 30.0
EMPTY_FOLDER = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
"""Every new Kubo repository pins it."""


class Stage:
    def __init__(self, root: Path, artist: Daemon, listener: Daemon, kubo: KuboDaemon) -> None:
        self.root, self.artist, self.listener, self.kubo = root, artist, listener, kubo
        self.files = music(root / "music", "Harbour Lights", "Northern Ferry")
        self.done = artist.run("publish", str(self.files[0].parent), "--title", "Tides", "--artist", "Ada")

    def status(self, code: int = 0) -> Any:
        return self.artist.run("ipfs", "status", code=code)

    def settled(self) -> Any:
        """Return the status once every release is as it should be."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            answer = self.artist.try_run("ipfs", "status")
            facts = answer.data
            if answer.code == 0 and all(each["pinned"] for each in facts["releases"]):
                return facts
            assert time.monotonic() < deadline, facts
            time.sleep(0.3)

    def roots(self) -> set[str]:
        """Return what Kubo keeps as whole trees."""
        return set((self.kubo.rpc("pin/ls", type="recursive") or {}).get("Keys") or {}) - {EMPTY_FOLDER}

    def plays(self, node: Daemon, number: int) -> bool:
        track = self.done["tracks"][number]["id"]
        session = node.run("play", track, "--url", "--quality", "original")
        return bool(httpx.get(session["url"], trust_env=False).content == self.files[number].read_bytes())


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("ipfs")
    with running_kubo(root, rpc_port=free_port()) as kubo, daemons(root, "artist", "listener") as nodes:
        start_all(*nodes)
        yield Stage(root, *nodes, kubo)


def test_pairing_needs_a_node_that_answers_and_says_what_is_wrong(stage: Stage) -> None:
    assert stage.status()["paired"] is False
    nobody = stage.artist.try_run("ipfs", "pair", f"http://127.0.0.1:{free_port()}")
    assert (nobody.code, "start it" in nobody.error) == (1, True), nobody
    far = stage.artist.try_run("ipfs", "pair", "http://192.0.2.1:5001")
    assert "https only" in far.error
    assert stage.status()["paired"] is False


def test_what_was_and_what_is_published_is_pinned_and_what_is_withdrawn_is_not(stage: Stage) -> None:
    paired = stage.artist.run("ipfs", "pair", stage.kubo.rpc_url)
    assert paired["peer"] == stage.kubo.peer_id
    facts = stage.settled()
    assert [each["cid"] for each in facts["releases"]] == [stage.done["cid"]]
    assert stage.roots() == {stage.done["cid"]}
    later = music(stage.root / "later", "Low Water")
    second = stage.artist.run("publish", str(later[0].parent), "--title", "Ebb", "--artist", "Ada")
    stage.settled()
    assert stage.roots() == {stage.done["cid"], second["cid"]}
    stage.artist.run("release", "withdraw", second["release"], "--yes")
    stage.settled()
    assert stage.roots() == {stage.done["cid"]}


def test_a_node_that_is_away_is_said_to_be_and_what_is_published_meanwhile_follows(stage: Stage) -> None:
    stage.kubo.kill()
    away = stage.status(code=8)
    assert away["answers"] is False
    assert "start it" in away["problem"]
    files = music(stage.root / "meanwhile", "Slack Water")
    done = stage.artist.run("publish", str(files[0].parent), "--title", "Slack", "--artist", "Ada")
    stage.artist.stop()
    stage.kubo.start()
    stage.artist.start()
    stage.settled()
    assert done["cid"] in stage.roots()
    with stage.artist.client() as client:
        assert "kubo/" in client.get("/health").json()["data"]["components"]["kubo"]["message"]


def test_a_listener_plays_from_that_kubo_alone(stage: Stage) -> None:
    stage.artist.stop()
    try:
        stage.listener.run("peers", "connect", stage.kubo.swarm_addr)
        stage.listener.run("show", stage.done["cid"])
        assert stage.plays(stage.listener, 0)
    finally:
        stage.artist.start()


def test_the_blocks_move_into_it_and_everything_works_and_they_move_back(stage: Stage) -> None:
    refused = stage.artist.try_run("repo", "move", "kubo")
    assert refused.code != 0, "the daemon runs"
    before = stage.artist.run("repo", "stat")
    stage.artist.stop()
    moved = stage.artist.run("repo", "move", "kubo")
    assert (moved["lost"], moved["bytes"] > 0) == (0, True)
    blobs = stage.artist.home / "blobs"
    assert not [each for each in blobs.rglob("*") if each.is_file()]
    stage.artist.start()
    after = stage.artist.run("repo", "stat")
    assert after["bytes_used"] == before["bytes_used"]
    assert stage.artist.run("repo", "verify")["damaged"] == 0
    assert stage.plays(stage.artist, 1)
    files = music(stage.root / "grown", "Spring Tide")
    grown = stage.artist.run("publish", str(files[0].parent), "--title", "Spring", "--artist", "Ada")
    stage.listener.run("peers", "connect", stage.artist.address())
    stage.listener.run("show", grown["cid"])
    session = stage.listener.run("play", grown["tracks"][0]["id"], "--url", "--quality", "original")
    assert httpx.get(session["url"], trust_env=False).content == files[0].read_bytes()
    assert not [each for each in blobs.rglob("*") if each.is_file()]
    held = stage.artist.try_run("ipfs", "unpair")
    assert "marina repo move embedded" in held.error
    stage.artist.stop()
    stage.artist.run("repo", "move", "embedded")
    stage.artist.start()
    assert stage.artist.run("repo", "verify")["damaged"] == 0
    assert stage.plays(stage.artist, 0)


def test_ending_the_pairing_takes_the_pins_back_when_asked(stage: Stage) -> None:
    assert stage.roots()
    stage.artist.run("ipfs", "unpair", "--unpin")
    assert not stage.roots()
    assert stage.status()["paired"] is False
    assert "kubo" not in (stage.artist.home / "config.toml").read_text()
