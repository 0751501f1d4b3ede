"""An operator and an artist: pledges kept and refused, the denylist, bans, and what each of them is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import PASSPHRASE, Daemon, daemons, music, start_all, wait_said

DENIED = ("By Cid", "By Release", "By Account")
KEPT, UNPINNED = "Kept", "Only Here"
DEADLINE_S = 30.0


@dataclass
class Stage:
    """Two artists, an operator whose denylist names three releases that it has, and a listener.

    Attributes:
        owner: title → its artist's node.
        releases: title → what ``publish`` said.
        links: title → its link.
    """

    artist: Daemon
    operator: Daemon
    listener: Daemon
    owner: dict[str, Daemon]
    releases: dict[str, Any]
    links: dict[str, str]
    denylist: Path

    def status(self, title: str) -> dict[str, Any]:
        answer = self.owner[title].try_run("release", "status", self.releases[title]["release"])
        assert answer.code == (0 if answer.data["safe_to_close"] else 8), answer
        status: dict[str, Any] = answer.data
        return status

    def status_when(self, title: str, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the first status for which the condition holds."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition(status := self.status(title)):
            assert time.monotonic() < deadline_s, status
            time.sleep(0.3)
        return status


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("operator")
    denylist = root / "denied.txt"
    denylist.write_text("# nothing yet\n")
    with daemons(root, "artist", "other", "operator", "listener") as (artist, other, operator, listener):
        operator.init(operator__accept_pledges="true", operator__denylist=str(denylist))
        with ThreadPoolExecutor(2) as pool:
            started = pool.submit(operator.start)
            pool.submit(start_all, artist, other, listener).result()
            started.result()
        songs = music(root / "music", *DENIED, KEPT, UNPINNED)
        owner = {song.stem: other if song.stem == "By Account" else artist for song in songs}
        releases = {
            song.stem: owner[song.stem].run("publish", str(song), "--title", song.stem) for song in songs
        }
        links = {
            title: owner[title].run("share", each["release"])["link"] for title, each in releases.items()
        }
        for title in DENIED:
            operator.run("pin", "add", links[title])
        cid, release, account = (
            releases["By Cid"]["cid"],
            releases["By Release"]["release"],
            other.run("id")["account"],
        )
        denylist.write_text(f"{cid}\n{release}\n{account}  # everything of theirs\n")
        for node in (artist, other):
            node.run("peers", "connect", operator.address())
        wait_said(operator.home / "logs" / "marina.log", "denylist read")
        yield Stage(artist, operator, listener, owner, releases, links, denylist)


def test_an_operator_pledges_what_its_denylist_does_not_name_and_says_why_not_else(stage: Stage) -> None:
    none = stage.artist.try_run("release", "status", stage.releases[KEPT]["release"], is_json=False)
    assert (none.code, "No replicas were asked for" in none.out) == (0, True), none
    for title in (*DENIED, KEPT):
        release = stage.releases[title]["release"]
        asked = stage.owner[title].try_run("release", "replicate", release, "--replicas", "1", is_json=False)
        assert asked.code == 0, asked
        assert "replicas 0/1   safe to close: no" in asked.out
        assert "marina release status" in asked.err

    for title, reason in (
        ("By Cid", "its denylist names this release or this artist"),
        ("By Account", "its denylist names this release or this artist"),
        # An ask names a manifest, and the id stands inside it: it is read before the pledge is given.
        ("By Release", "its denylist names this release or this artist"),
    ):
        status = stage.status_when(title, lambda each: any(pledge["reason"] for pledge in each["pledges"]))
        (pledge,) = status["pledges"]
        assert (status["replicas"], pledge["state"], pledge["until"]) == (0, "failed", 0)
        assert reason in pledge["reason"]
        assert pledge["peer"] == stage.operator.run("id")["peer"]

    kept = stage.status_when(KEPT, lambda each: each["safe_to_close"])
    assert (kept["replicas"], kept["wanted"]) == (1, 1)
    assert [each["state"] for each in kept["pledges"]] == ["audited"]
    pledged = {each["title"] for each in stage.operator.run("pin", "ls")["items"] if each["why"] == "pledged"}
    assert pledged == {KEPT}

    text = stage.artist.try_run("release", "status", stage.releases["By Cid"]["release"], is_json=False)
    assert text.code == 8, text
    assert "denylist" in text.out
    assert "ask for fewer replicas" in text.out
    listed = stage.artist.try_run("release", "list", is_json=False).out
    assert "1/1" in listed
    assert "0/1" in listed


def test_publish_with_replicas_asks_for_more_than_there_are_operators(stage: Stage, tmp_path: Path) -> None:
    song = music(tmp_path / "music", "Wanted Twice")[0]
    done = stage.artist.run("publish", str(song), "--title", "Wanted Twice", "--replicas", "2")
    stage.releases["Wanted Twice"], stage.owner["Wanted Twice"] = done, stage.artist
    status = stage.status_when("Wanted Twice", lambda each: each["replicas"] == 1)
    assert (status["wanted"], status["safe_to_close"]) == (2, False)
    assert "1 of 2 operators keep it" in status["message"]
    fewer = stage.artist.run("release", "replicate", done["release"], "--replicas", "1")
    assert fewer["wanted"] == 1
    assert stage.status("Wanted Twice")["safe_to_close"]
    ended = stage.artist.run("release", "replicate", done["release"], "--replicas", "0")
    assert ended["wanted"] == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["release", "replicate", "RELEASE", "--replicas", "101"], 2, "100"),
        (["release", "replicate", "RELEASE", "--replicas", "-1"], 2, "0"),
        (["release", "status", "rl_aaaaaaaaaaaa"], 4, "rl_aaaaaaaaaaaa"),
        (["peers", "ban", "nobody"], 4, "marina peers"),
        (["peers", "ban", "x" * 60], 4, "whole id"),
        (["peers", "ban", "SELF"], 2, "this node itself"),
        (["peers", "ban", "12D3Koo", "--for", "tomorrow"], 2, "30m"),
        (["peers", "ban", "12D3Koo", "--for", "9999d"], 2, "365d"),
        (["peers", "ban", "12D3Koo", "--for", "0m"], 2, "1m"),
        (["peers", "unban", "nobody"], 4, "whole id"),
        (["config", "set", "operator.denylist", "denied.txt"], 2, "whole path"),
        (["config", "set", "operator.accept_from", "0x1234"], 2, "marina id"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    stage: Stage, words: list[str], code: int, said: str
) -> None:
    own_id = stage.artist.run("id")["peer"] if "SELF" in words else ""
    stand_ins = {"RELEASE": stage.releases[KEPT]["release"], "SELF": own_id}
    answer = stage.artist.try_run(*(stand_ins.get(word, word) for word in words), is_json=False)
    assert answer.code == code, answer
    assert said in answer.err
    assert len(answer.err.splitlines()) == 1


def test_a_banned_peer_gets_nothing_until_it_is_let_in_again(stage: Stage) -> None:
    artist, listener = stage.artist, stage.listener
    listener.run("peers", "connect", artist.address())
    peer = listener.run("id")["peer"]
    banned = artist.try_run("peers", "ban", peer[-8:], "--for", "2h", "--reason", "bad chunks", is_json=False)
    assert (banned.code, banned.out) == (0, f"Banned {peer} for 2h.\n")
    facts = {each["peer"]: each for each in artist.run("peers")["items"]}[peer]
    assert facts["banned"]
    assert 7000 < facts["bannedForS"] <= 7200
    assert "banned for 1 h" in artist.try_run("peers", is_json=False).out
    assert "bad chunks" in artist.log()

    refused = listener.try_run("get", stage.links[UNPINNED], is_json=False)
    assert refused.code in (4, 7), refused
    dialled = artist.try_run("peers", "connect", listener.address(), is_json=False)
    assert dialled.code == 7, dialled
    assert "is banned on this node" in dialled.err
    knocking = listener.try_run("peers", "connect", artist.address(), is_json=False)
    assert knocking.code == 7, knocking
    assert "ended the connection at once" in knocking.err

    freed = artist.try_run("peers", "unban", peer, is_json=False)
    assert (freed.code, freed.out) == (0, f"{peer} may connect again.\n")
    assert not any(each["banned"] for each in artist.run("peers")["items"])
    assert listener.run("get", stage.links[UNPINNED])["tracks"] == 1


def test_what_the_denylist_names_is_neither_served_nor_listed_nor_joined(stage: Stage) -> None:
    """The listener refuses both artists, so that only the operator is left to ask."""
    listener, operator = stage.listener, stage.operator
    for node in set(stage.owner.values()):
        listener.run("peers", "connect", node.address())
        listener.run("peers", "ban", node.run("id")["peer"])
    listener.run("peers", "connect", operator.address())
    for title in DENIED:
        assert listener.try_run("get", stage.links[title]).code == 4, title
        joined = operator.try_run("join", stage.links[title], is_json=False)
        assert joined.code == 5, joined
        assert "denylist names" in joined.err
    assert listener.try_run("find", "by").code == 4
    assert listener.run("get", stage.links[KEPT])["tracks"] == 1


def test_a_broken_denylist_is_named_and_keeps_a_node_from_starting(stage: Stage) -> None:
    operator = stage.operator
    operator.stop()
    stage.denylist.write_text("rl_nonsense\n")
    for said in ("line 1", "does not exist"):
        refused = operator.try_run("daemon", "--quiet", "--passphrase-fd", "0", secret=PASSPHRASE)
        assert refused.code == 2, refused
        assert said in refused.data["error"]["message"]
        stage.denylist.unlink(missing_ok=True)
