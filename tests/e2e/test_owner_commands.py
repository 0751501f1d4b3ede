"""The owner's side of one node: vault, words, backups, tokens, settings, and where secrets must not be."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.daemons import IS_IN_KUBO, PASSPHRASE, Answer, Daemon, daemons, environment, music


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("owner")
    with daemons(root, "home") as (node,):
        node.init(storage__quota="2GB")
        node.start()
        node.run("publish", str(music(root / "music", "Evening Tide")[0]), "--title", "Evenings")
        yield node


def with_words(node: Daemon, words: list[str], *command: str) -> Answer:
    """Run a command that reads the 24 words from descriptor 3 and a passphrase from descriptor 0."""
    reader, writer = os.pipe()
    os.write(writer, " ".join(words).encode() + b"\n")
    os.close(writer)
    try:
        done = subprocess.run(
            [*node.command(*command), "--words-fd", str(reader), "--json"],
            input=PASSPHRASE.encode() + b"\n",
            capture_output=True,
            timeout=60,
            check=False,
            env=environment(),
            pass_fds=[reader],
        )
    finally:
        os.close(reader)
    return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_the_words_are_shown_only_after_the_passphrase(node: Daemon) -> None:
    assert len(node.words) == 24
    shown = node.run("key", "--passphrase-fd", "0", "words", secret=PASSPHRASE)
    assert shown["words"] == node.words
    refused = node.try_run("key", "--passphrase-fd", "0", "words", secret="a wrong passphrase")
    assert refused.code == 5
    told = [word for word in node.words if word in refused.error.split()]
    assert len(told) < 4  # "wrong" and a few more of the sentence are in the list that words are drawn from
    nobody = node.try_run("key", "words")
    assert nobody.code != 0
    assert "passphrase" in nobody.error


def test_a_locked_node_plays_and_refuses_to_sign_until_it_is_unlocked(node: Daemon, tmp_path: Path) -> None:
    song = music(tmp_path / "music", "Night Tide")[0]
    node.run("key", "lock")
    assert node.run("status", code=0 if IS_IN_KUBO else 8)["locked"]  # alone, but for a paired Kubo
    refused = node.try_run("publish", str(song))
    assert refused.code == 5, refused
    assert "marina key unlock" in refused.error

    node.run("find", "--local", "evening")
    url = node.run("play", "1", "--url", "--quality", "original")["url"]
    assert len(httpx.get(url, trust_env=False).content) == len(song.read_bytes())

    wrong = node.try_run("key", "--passphrase-fd", "0", "unlock", secret="a wrong passphrase")
    assert wrong.code == 5
    node.run("key", "--passphrase-fd", "0", "unlock", secret=PASSPHRASE)
    assert node.run("publish", str(song))["tracks"][0]["title"] == "Night Tide"


def test_the_words_alone_restore_the_account(node: Daemon, tmp_path: Path) -> None:
    other = Daemon(tmp_path / "other")
    bad = with_words(other, [*node.words[:-1], "zoo"], "init", "--restore", "--passphrase-fd", "0")
    assert bad.code == 2, bad
    assert "zoo" not in bad.error
    assert not (other.home / "vault.json").exists()
    made = with_words(other, node.words, "init", "--restore", "--passphrase-fd", "0")
    assert made.code == 0, made
    assert made.data["words"] is None
    with daemons(tmp_path, "other") as (other,):
        other.start("--locked")
        assert other.run("id")["account"] == node.run("id")["account"]
        assert other.run("id")["peer"] != node.run("id")["peer"]


def test_a_backup_is_checked_and_restores_an_empty_home(node: Daemon, tmp_path: Path) -> None:
    path = node.run("backup", str(tmp_path))["path"]
    assert b"Evening" not in Path(path).read_bytes()
    home = Daemon(tmp_path / "restored")
    checked = with_words(home, node.words, "restore", path, "--check")
    assert (checked.code, checked.data["restored"]) == (0, False), checked
    assert not home.home.exists()

    damaged = tmp_path / "damaged.mbk"
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    refused = with_words(home, node.words, "restore", str(damaged), "--check")
    assert refused.code not in (0, 2), refused
    assert "Traceback" not in refused.err

    restored = with_words(home, node.words, "restore", path)
    assert restored.code == 0, restored
    with daemons(tmp_path, "restored") as (home,):
        home.start()
        assert home.run("id")["account"] == node.run("id")["account"]
        assert "Evenings" in {each["title"] for each in home.run("release", "list")["items"]}
    again = with_words(home, node.words, "restore", path)
    assert again.code not in (0, 130), again


def test_a_metrics_token_reads_counters_and_nothing_else_until_it_is_revoked(node: Daemon) -> None:
    made = node.run("token", "create", "--scope", "metrics:read", "--name", "graphs", "--ttl", "1h")
    with node.client(made["token"]) as api:
        counters = api.get("/metrics")
        assert counters.status_code == 200
        assert "marina_" in counters.text
        for path in ("/api/v1/status", "/api/v1/id", "/api/v1/search?q=tide", "/health"):
            assert api.get(path).status_code == 403, path
        assert api.post("/api/v1/stop", json={}).status_code == 403
        assert "graphs" in {each["name"] for each in node.run("token", "list")["items"]}
        node.run("token", "revoke", made["id"])
        assert api.get("/metrics").status_code == 401
    assert made["id"] not in {each["id"] for each in node.run("token", "list")["items"]}


def test_settings_are_read_written_and_explained(node: Daemon) -> None:
    origins = {each["key"]: each for each in node.run("config", "show", "--origin")["items"]}
    assert origins["profile"]["origin"] == "MARINA_PROFILE"
    assert origins["swarm.lan_discovery"]["origin"] == "profile development"
    assert origins["storage.quota"]["origin"] == str(node.home / "config.toml")
    assert origins["api.port"]["origin"] == "default"
    assert all(each["value"] is False for key, each in origins.items() if key.startswith("privacy."))
    assert node.run("config", "get", "storage.quota") == {"storage.quota": "2GB"}
    for words, said in (
        (["set", "storage.qouta", "5GB"], "did you mean 'storage.quota'"),
        (["set", "storage.quota", "many"], "storage.quota"),
        (["set", "profile", "fast"], "profile"),
        (["get", "swarm.bootstarp"], "did you mean 'swarm.bootstrap'"),
    ):
        answer = node.try_run("config", *words)
        assert answer.code == 2, answer
        assert said in answer.error
    assert node.run("config", "get", "storage.quota") == {"storage.quota": "2GB"}


def test_a_full_quota_refuses_a_publish_in_one_sentence_and_plays_on(node: Daemon, tmp_path: Path) -> None:
    music(tmp_path / "music", "Morning Tide", "Noon Tide")
    with daemons(tmp_path, "small") as (small,):
        small.init()
        small.start("--set", "storage.quota=2MB")
        first = small.run("publish", str(tmp_path / "music" / "Morning Tide.opus"))
        refused = small.try_run("publish", str(tmp_path / "music" / "Noon Tide.opus"))
        assert refused.code == 1, refused
        assert "storage.quota" in refused.error
        assert len(refused.error.splitlines()) == 1
        url = small.run("play", first["release"], "--url", "--quality", "original")["url"]
        song = (tmp_path / "music" / "Morning Tide.opus").read_bytes()
        assert httpx.get(url, trust_env=False).content == song

        stat = small.run("repo", "stat", "--why")
        assert 0 < stat["bytes_used"] <= stat["bytes_quota"] == 2_000_000
        assert sum(each["why"].startswith("own") for each in stat["roots"]) >= 3
        # What the refused publish left behind is only cache; nothing of the first release ever goes.
        would = small.run("repo", "gc", "--dry-run")
        assert {each["why"] for each in would["evicted"]} <= {"swarm"}
        assert small.run("repo", "stat")["bytes_used"] == stat["bytes_used"]
        small.run("repo", "gc")
        assert all(each["why"].startswith("own") for each in small.run("repo", "stat", "--why")["roots"])
        assert small.run("repo", "verify")["damaged"] == 0
        assert httpx.get(url, trust_env=False).content == song


def test_no_secret_is_in_a_command_line_an_environment_or_the_log(node: Daemon) -> None:
    token = (node.home / "api.token").read_text().strip()
    made = node.run("token", "create", "--scope", "read_music", "--ttl", "1h")
    link = node.run("up")["link"]
    code = link.partition("code=")[2]
    with node.client() as api:
        opened = api.post("/api/v1/session", json={"code": code}, headers={"authorization": ""})
        session = opened.json()["data"]["accessToken"]
    secrets = [
        PASSPHRASE,
        " ".join(node.words),
        " ".join(node.words[:3]),
        token,
        made["token"],
        code,
        session,
    ]
    process = Path(f"/proc/{node.pid}")
    seen = {
        "command line": (process / "cmdline").read_bytes(),
        "environment": (process / "environ").read_bytes(),
        **{path.name: path.read_bytes() for path in (node.home / "logs").iterdir()},
        "daemon.json": (node.home / "daemon.json").read_bytes(),
        "config.toml": (node.home / "config.toml").read_bytes(),
    }
    assert len(seen["marina.log"]) > 1000
    for place, text in seen.items():
        for secret in secrets:
            assert len(secret) > 8
            assert secret.encode() not in text, place
    # The words and the passphrase lie nowhere in the home as they are.
    for path in node.home.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert PASSPHRASE.encode() not in data, path
            assert " ".join(node.words).encode() not in data, path
