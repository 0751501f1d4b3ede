"""Publishing, sharing, finding and playing between real daemons, by the installed command alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.daemons import MARINA, PASSPHRASE, Daemon, daemons, end, environment, music, start_all

TITLES = ("Harbour Lights", "Northern Ferry", "Saltwater Clocks")


@dataclass
class Swarm:
    """An artist with a release, and a listener that is connected to it."""

    root: Path
    artist: Daemon
    listener: Daemon
    files: list[Path]
    release: str
    tracks: list[str]
    link: str
    lost: subprocess.Popen[bytes]
    """Fetches, while the other tests run, what only a node that is gone had; it tries for 20 s."""
    operator: Daemon
    kept: str
    """Release of the node that is gone, which the operator joined in time."""


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    root = tmp_path_factory.mktemp("swarm")
    with daemons(root, "artist", "listener", "gone", "operator") as (artist, listener, gone, operator):
        start_all(artist, listener, gone)
        lost, kept = (
            gone.run("publish", str(song))["release"]
            for song in music(root / "lost", "Lost At Sea", "Kept Song")
        )
        lost_link, kept_link = (gone.run("share", each)["link"] for each in (lost, kept))
        listener.run("show", lost_link)  # the manifests are here, the music is not
        # One line on an empty home: identity, daemon in the background, the whole release.
        joined = operator.run("join", kept_link, "--quota", "1GB", "--passphrase-fd", "0", secret=PASSPHRASE)
        assert joined["tracks"] == 1
        gone.kill()
        fetching = listener.spawn("get", lost_link, "--json", secret=None, output=root / "lost.json")
        files = music(root / "music", *TITLES)
        done = artist.run("publish", str(files[0].parent), "--title", "Tides", "--artist", "Ada Moles")
        link = artist.run("share", done["release"])["link"]
        listener.run("peers", "connect", artist.address())
        tracks = [each["id"] for each in done["tracks"]]
        try:
            yield Swarm(
                root, artist, listener, files, done["release"], tracks, link, fetching, operator, kept
            )
        finally:
            end(fetching)
            operator.run("stop")


def test_a_link_plays_on_an_empty_home_that_knows_no_other_address(swarm: Swarm, tmp_path: Path) -> None:
    with daemons(tmp_path, "stranger") as (stranger,):
        stranger.init()
        stranger.start()
        session = stranger.run("play", swarm.link, "--url", "--quality", "original")
        song = httpx.get(session["url"], trust_env=False).content
        assert song == swarm.files[0].read_bytes()
        assert session["queue"] == swarm.tracks

        saved = tmp_path / "saved.opus"
        track = swarm.artist.run("share", swarm.tracks[2])["link"]
        assert stranger.run("get", track, "--save", str(saved))["tracks"] == 1
        assert saved.read_bytes() == swarm.files[2].read_bytes()
        assert not saved.with_name("saved.opus.part").exists()
        again = stranger.try_run("get", track, "--save", str(saved))
        assert again.code == 2
        assert "exists already" in again.error

        # What is here plays without anybody else.
        session = stranger.run("--offline", "play", swarm.tracks[2], "--url", "--quality", "original")
        assert session["complete"]


def test_a_misspelt_word_finds_the_track_in_the_swarm_and_its_number_plays(swarm: Swarm) -> None:
    found = swarm.listener.run("find", "Nothern")
    assert [item["title"] for item in found["items"]] == ["Northern Ferry"]
    assert found["items"][0]["id"] == swarm.tracks[1]
    assert found["sources"]["peers"] >= 1

    session = swarm.listener.run("play", "1", "--url", "--quality", "original")
    body = httpx.get(session["url"], trust_env=False).content
    assert body == swarm.files[1].read_bytes()
    part = httpx.get(session["url"], headers={"range": "bytes=70000-70999"}, trust_env=False)
    assert part.status_code == 206
    assert part.content == body[70000:71000]


def test_show_takes_a_number_an_id_a_unique_prefix_and_a_link(swarm: Swarm) -> None:
    swarm.listener.run("find", "northern")
    track = swarm.tracks[1]
    for typed in ("1", track, track[:12], track.removeprefix("tr_")[:9]):
        facts = swarm.listener.run("show", typed)
        assert (facts["kind"], facts["id"], facts["seeders"]) == ("track", track, 1), typed
        assert {each["tier"] for each in facts["renditions"]} >= {"original", "preview"}
    for typed in (swarm.release, swarm.release[:14], swarm.link):
        facts = swarm.listener.run("show", typed)
        assert (facts["kind"], facts["id"]) == ("release", swarm.release), typed
        assert [each["title"] for each in facts["tracks"]] == list(TITLES)


DECODE = """
import av, sys
from av.audio.resampler import AudioResampler
to_s16 = AudioResampler(format="s16")
with av.open(sys.argv[1]) as container:
    for frame in container.decode(audio=0):
        for part in to_s16.resample(frame):
            sys.stdout.buffer.write(part.to_ndarray().tobytes())
"""


def test_the_samples_that_play_writes_are_those_of_an_outside_decoder(swarm: Swarm, tmp_path: Path) -> None:
    wav, pcm = tmp_path / "song.wav", tmp_path / "song.pcm"
    play = ("play", swarm.tracks[0], "--quality", "original")
    facts = swarm.artist.run(*play, "--wav", str(wav))
    swarm.artist.run(*play, "--pcm", str(pcm))
    command = [sys.executable, "-c", DECODE, str(swarm.files[0])]
    expected = subprocess.run(command, capture_output=True, check=True, timeout=30).stdout
    assert len(expected) > 1_000_000
    assert pcm.read_bytes() == expected
    with wave.open(str(wav)) as song:
        assert (song.getnchannels(), song.getframerate()) == (facts["channels"], facts["sample_rate_hz"])
        assert song.readframes(song.getnframes()) == expected
    streamed = subprocess.run(
        swarm.artist.command(*play, "--pcm", "-"),
        check=False,
        capture_output=True,
        timeout=30,
        env=environment(),
    )
    assert (streamed.returncode, streamed.stdout) == (0, expected)
    again = swarm.artist.try_run(*play, "--wav", str(wav))
    assert again.code == 2
    assert "exists already" in again.error


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["show", "tr_aaaaaaaaaaaa"], 4, "tr_aaaaaaaaaaaa"),
        (["show", "99"], 4, "99"),
        (["play", "marina:aaaaaaaaaaaaaaaaaaaaaaaa"], 2, "link"),
        (["find", "zzyzx"], 4, None),
        (["find", "year:never"], 2, "year"),
        (["publish", "/nowhere/at/all"], 4, "/nowhere/at/all"),
        (["peers", "connect", "nonsense"], 2, None),
        (["peers", "connect", "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWAfEGm4Gy7K5CxTtLdsQGjVPLtMieZYH2AQXEu2NJ8nP5"], 7, None),  # noqa: E501
        (["token", "create", "--scope", "everything"], 2, "no scope"),
        (["release", "update", "rl_aaaaaaaaaaaa", "--title", "x"], 4, None),
        (["get", "1", "--quality", "loud"], 2, None),
    ],
)  # fmt: skip
def test_a_wrong_request_ends_with_its_exit_code_and_one_sentence(
    swarm: Swarm, words: list[str], code: int, expected: str | None
) -> None:
    answer = swarm.listener.try_run(*words)
    assert answer.code == code, answer
    said = answer.error if answer.out.startswith('{"error"') else answer.out + answer.err
    assert "Traceback" not in answer.err
    assert len(said.splitlines()) == 1
    if expected is not None:
        assert expected in said


def test_what_nobody_has_any_more_ends_with_exit_code_7(swarm: Swarm) -> None:
    code = swarm.lost.wait(timeout=60)
    said = (swarm.root / "lost.json").read_text().splitlines()
    assert code == 7, said
    assert "has segment" in json.loads(said[-1])["error"]["message"]


def test_commands_without_a_daemon_end_with_exit_code_3_and_the_command_that_starts_it(
    tmp_path: Path,
) -> None:
    nobody = Daemon(tmp_path / "none")
    for words in (["status"], ["find", "x"], ["play", "1"], ["stop"], ["repo", "stat"], ["publish", "/tmp"]):
        answer = nobody.try_run(*words)
        assert answer.code == 3, (words, answer)
        assert f"marina up --home {nobody.home}" in answer.error


ONLY_AS_TEXT = (
    "status", "id", "find --local harbour", "repo stat", "repo verify", "config get storage.quota",
    "share RELEASE", "show RELEASE", "play RELEASE --url", "get RELEASE", "release list",
)  # fmt: skip
"""The other tests read these as JSON."""
BOTH_WAYS = (
    "doctor", "peers", "repo stat --why", "repo gc --dry-run", "pin ls", "release status RELEASE",
    "device list", "token list", "config show --origin", "publish MUSIC --dry-run", "backup", "up",
)  # fmt: skip


def test_every_command_answers_json_for_programs_and_text_for_people(swarm: Swarm) -> None:
    stand_ins = {"RELEASE": swarm.release, "MUSIC": str(swarm.files[0].parent)}

    def complaint(line: str) -> str | None:
        words = [stand_ins.get(word, word) for word in line.split()]
        text = swarm.artist.try_run(*words, is_json=False)
        holds = (
            text.code in (0, 8)
            and bool(text.out.strip())
            and not text.out.startswith("{")
            and "None" not in text.out
        )
        answer = swarm.artist.try_run(*words) if line in BOTH_WAYS else None
        if answer is not None:
            holds &= (
                (answer.code, answer.err) == (text.code, "")
                and isinstance(answer.data, dict)
                and all(each["event"] == "progress" for each in answer.events[:-1])
            )
        return None if holds else f"{line}: {text} {answer}"

    with ThreadPoolExecutor(3) as pool:
        assert [each for each in pool.map(complaint, ONLY_AS_TEXT + BOTH_WAYS) if each] == []


def test_every_command_has_help() -> None:
    script = "import sys, cli.main as m; sys.exit(any([m.main([each, '--help']) for each in m.COMMANDS]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(re.findall(r"^usage: marina [a-z]+ ", done.stdout, re.MULTILINE)) >= 25
    listed = subprocess.run([str(MARINA), "--help"], capture_output=True, text=True, check=True).stdout
    assert "exit codes:" in listed


def test_a_listener_that_looks_again_gets_the_new_version(swarm: Swarm, tmp_path: Path) -> None:
    song, other = music(tmp_path / "music", "Draft Song", "Final Song")
    done = swarm.artist.run("publish", str(song), "--title", "Sketch")
    link = swarm.artist.run("share", done["release"])["link"]
    assert swarm.listener.run("show", link)["version"] == 1

    updated = swarm.artist.run("release", "update", done["release"], "--title", "Finished Work")
    assert updated["version"] == 2
    fresh = swarm.artist.run("share", done["release"])["link"]
    facts = swarm.listener.run("show", fresh)
    assert (facts["version"], facts["title"]) == (2, "Finished Work")
    assert swarm.listener.run("show", done["release"])["version"] == 2

    replaced = swarm.artist.run("release", "update", done["release"], "--track", "1", str(other))
    assert replaced["version"] == 3
    fresh = swarm.artist.run("share", done["release"])["link"]
    session = swarm.listener.run("play", fresh, "--url", "--quality", "original")
    assert httpx.get(session["url"], trust_env=False).content == other.read_bytes()


def test_a_withdrawn_release_says_so(swarm: Swarm, tmp_path: Path) -> None:
    song = music(tmp_path / "music", "Regretted Song")[0]
    done = swarm.artist.run("publish", str(song), "--title", "Mistake")
    refused = swarm.artist.try_run("release", "withdraw", done["release"])
    assert refused.code == 5
    assert "--yes" in refused.error

    link = swarm.artist.run("share", done["release"])["link"]
    gone = swarm.artist.run("release", "withdraw", done["release"], "--yes", "--reason", "a bad mix")
    assert gone["withdrawn"]
    for node, target in (
        (swarm.artist, done["release"]),
        (swarm.artist, done["tracks"][0]["id"]),
        (swarm.artist, link),
        (swarm.listener, gone["cid"]),
    ):
        answer = node.try_run("play", target, "--url")
        assert answer.code == 4, answer
    answer = swarm.artist.try_run("play", done["release"], "--url")
    assert "withdrawn" in answer.error
    assert "a bad mix" in answer.error
    assert swarm.artist.try_run("find", "--local", "regretted").code == 4


def test_the_same_folder_published_again_changes_nothing(swarm: Swarm) -> None:
    folder = str(swarm.files[0].parent)
    again = swarm.artist.run("publish", folder, "--title", "Tides", "--artist", "Ada Moles")
    assert again["is_unchanged"]
    assert again["release"] == swarm.release


def test_what_cannot_be_published_is_skipped_and_named(swarm: Swarm, tmp_path: Path) -> None:
    song = music(tmp_path / "mixed", "Good Song")[0]
    (song.parent / "fake.mp3").write_bytes(b"this is not music " * 1000)
    (song.parent / "empty.flac").write_bytes(b"")
    answer = swarm.artist.try_run("publish", str(song.parent))
    assert answer.code == 8, answer
    assert {each["file"] for each in answer.data["skipped"]} == {"fake.mp3", "empty.flac"}
    assert all(each["reason"] for each in answer.data["skipped"])
    assert [each["title"] for each in answer.data["tracks"]] == ["Good Song"]


def test_an_operator_that_joined_in_one_line_plays_what_the_artist_has_no_more(swarm: Swarm) -> None:
    assert swarm.operator.run("pin", "ls")["items"][0]["why"] == "pledged"
    link = swarm.operator.run("share", swarm.kept)["link"]
    session = swarm.listener.run("play", link, "--url", "--quality", "original")
    body = httpx.get(session["url"], trust_env=False).content
    assert body == (swarm.root / "lost" / "Kept Song.opus").read_bytes()


def test_reading_only_the_head_of_the_output_is_no_error(swarm: Swarm) -> None:
    process = subprocess.run(
        [f"{MARINA} --home '{swarm.artist.home}' config show --json | head -c 1"],
        shell=True, capture_output=True, timeout=30, check=False, env=environment(),
    )  # fmt: skip
    assert process.stdout == b"{"
    assert process.stderr == b""
    assert json.loads(swarm.artist.try_run("id").out)["peer"]
