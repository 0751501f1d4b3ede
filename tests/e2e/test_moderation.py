"""The DAO's moderation list on a real chain: proposed with its text, read and voted by others, followed by an
operator of its own will, also while the chain is gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chain.dev.genesis import TREASURER_KEY
from tests.support.chains import DevChain, dev_chain
from tests.support.daemons import Daemon, daemons, music

DAY_S = 86_400
MMT = 10**18
ARTIST = "0x52908400098527886E0F7030069857D2E4169EE7"
WAIT_S = 30.0
REASON = "court order 12 O 34/26"


@dataclass
class Stage:
    """A member who has all MMT, and an operator who has none and follows the DAO's moderation list.

    Attributes:
        releases: title → what ``publish`` said, all of the member.
    """

    chain: DevChain
    member: Daemon
    operator: Daemon
    releases: dict[str, Any]
    folder: Path

    @property
    def block(self) -> Path:
        return self.folder / "list.block"

    def travel(self, seconds: int) -> None:
        self.chain.rpc("evm_increaseTime", seconds)
        self.chain.rpc("evm_mine")

    def get(self, node: Daemon, path: str, **query: str) -> Any:
        with node.client() as client:
            return client.get(f"/api/v1/dao{path}", params=query).json()["data"]


def until(condition: Callable[[], Any]) -> Any:
    """Return what a condition says once it is true."""
    ends_s = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < ends_s, "it did not happen in time"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("moderation")
    songs = music(root / "music", "Denied", "Fine")
    with dev_chain(root) as chain, daemons(root, "member", "operator") as (member, operator):
        more = {member: "", operator: "[operator]\nfollow_dao_list = true\naccept_pledges = true\n"}

        def start(node: Daemon) -> None:
            node.init()
            path = node.home / "config.toml"
            path.touch(0o600)
            path.write_text(f'[chain]\nprofile = "dev"\nendpoints = ["{chain.url}"]\n{more[node]}')
            node.start()

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(start, more))
        member.run("wallet", "import", "treasurer", "--key-fd", "0", secret=TREASURER_KEY.hex())
        member.run("wallet", "default", "treasurer")
        chain.fund(operator.run("id")["account"])
        member.run("peers", "connect", operator.address())
        releases = {song.stem: member.run("publish", str(song), "--title", song.stem) for song in songs}
        yield Stage(chain, member, operator, releases, root)


def test_a_list_is_made_proposed_read_and_adopted(stage: Stage) -> None:
    member, operator = stage.member, stage.operator
    text, names = stage.folder / "why.md", stage.folder / "list.txt"
    text.write_bytes("# Why\r\n\r\nA court in Köln said so.\r\n".encode())
    names.write_text(f"# of this spring\n{stage.releases['Denied']['tracks'][0]['id']}  {REASON}\n")
    made = member.run("dao", "moderation", "make", str(names), "--block", str(stage.block))
    assert (made["entries"], made["added"]["count"], made["removed"]["count"]) == (1, 1, 0)
    assert made["previous"] is None
    member.run("wallet", "send", stage.chain.contracts["TimelockController"], "450MMT", "--yes")
    words = [
        "dao", "propose", "--title", "The first list", "--text", str(text),
        "--set", f"moderation-list={made['cid']}", "--pay", f"400MMT={ARTIST}",
        "--call", "guardianregistry", "setMinBond", str(7 * MMT),
    ]  # fmt: skip
    idle = member.try_run(*words, "--yes")
    assert (idle.code, "delegate your own MMT to yourself" in idle.error) == (5, True), idle
    member.run("dao", "delegate", "self", "--yes")
    stage.travel(1)
    dry = member.run(*words, "--dry-run")
    assert "Pay 400 MMT from the treasury" in dry["quote"]["transactions"][0]["summary"]
    assert stage.get(member, "")["proposals"] == 0
    member.run(*words, "--yes")

    shown = operator.run("dao", "show", "#1", "--simulate", "--text")
    assert [each["text"] for each in shown["calls"]] == [
        f"Set the moderation list to {made['cid']} (now none)",
        f"Pay 400 MMT from the treasury to {ARTIST}",
        "Set the least bond of a key guardian to 7 MMT (now 100 MMT)",
    ]
    assert all(each["understood"] and not each["warnings"] for each in shown["calls"])
    assert shown["text"] == "# Why\n\nA court in Köln said so.", "it came from the member's node"
    changes = {each["title"]: (each["before"], each["after"]) for each in shown["effect"]["changes"]}
    assert changes["the moderation list"] == ("none", made["cid"])
    assert ("450 MMT", "50 MMT") in changes.values()

    stage.travel(DAY_S + 1)
    member.run("dao", "vote", "1", "for", "--reason", "a court said so", "--yes")
    (ballot,) = operator.run("dao", "show", "1", "--votes")["votes"]
    assert (ballot["support"], ballot["reason"]) == ("for", "a court said so")
    assert int(ballot["votes"]) == (1_000_000 - 450) * MMT
    stage.travel(5 * DAY_S)
    operator.run("dao", "queue", "1", "--yes")
    stage.travel(2 * DAY_S)
    operator.run("dao", "execute", "1", "--yes")

    overview = stage.get(operator, "")
    values = {each["key"]: each["value"] for each in overview["parameters"]}
    assert (values["guardian-bond"], values["moderation-list"]) == ("7 MMT", made["cid"])
    assert (overview["quorum"], overview["votes"]) == (str(40_000 * MMT), "0")
    assert stage.get(operator, "/treasury")["items"][1]["held"] == "50 MMT"
    assert [each["support"] for each in stage.get(operator, f"/voters/{ballot['voter']}")["items"]] == ["for"]


def test_an_operator_follows_the_adopted_list_also_while_the_chain_is_gone(stage: Stage) -> None:
    member, operator = stage.member, stage.operator
    until(lambda: stage.get(operator, "/moderation")["in_force"])
    denied, fine = (stage.releases[title] for title in ("Denied", "Fine"))
    found = operator.run("dao", "moderation", "show", denied["tracks"][0]["id"])
    assert [each["reason"] for each in found["items"]] == [REASON]
    assert (found["digest"], found["followed"]) == (found["in_force"], True)
    assert operator.try_run("dao", "moderation", "show", fine["release"]).code == 4
    assert stage.get(member, "/moderation")["in_force"] is None, "nobody follows who did not say so"

    stage.chain.stop()
    try:
        operator.stop()
        operator.start()
        with operator.client() as client:
            state = client.get("/health").json()["data"]["components"]["moderation"]
        assert found["digest"][:12] in state["message"], state
        member.run("peers", "connect", operator.address())
        for release in (denied, fine):
            member.run("release", "replicate", release["release"], "--replicas", "1")
        assert "denylist" in until(lambda: _pledge(member, denied["release"], "failed"))["reason"]
        until(lambda: _pledge(member, fine["release"], "audited"))
    finally:
        stage.chain.start()


def test_a_file_that_is_not_the_adopted_list_is_not_taken(stage: Stage) -> None:
    assert stage.operator.run("dao", "moderation", "take", str(stage.block))["entries"] == 1
    wrong = stage.folder / "wrong.block"
    wrong.write_bytes(stage.block.read_bytes()[:-1] + b"!")
    refused = stage.operator.try_run("dao", "moderation", "take", str(wrong))
    assert (refused.code, "not the moderation list that the DAO adopted" in refused.error) == (8, True), (
        refused
    )
    bad = stage.folder / "bad.txt"
    bad.write_text("rl_nothing  no such thing\n")
    refused = stage.member.try_run("dao", "moderation", "make", str(bad))
    assert (refused.code, "line 1" in refused.error) == (2, True), refused


def _pledge(node: Daemon, release: str, state: str) -> dict[str, Any] | None:
    with node.client() as client:
        status = client.get(f"/api/v1/releases/{release}/status").json()["data"]
    return next((each for each in status["pledges"] if each["state"] == state), None)
