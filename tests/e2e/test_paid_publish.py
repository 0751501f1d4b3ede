"""An artist sells an album on a real node and a real development chain, with guardians that have bonds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chain.artifacts import encode_call
from marina.ids import parse_track
from storage.content.guarded import KeyHolder
from storage.content.holder_text import holder_text
from tests.support.bonded import BondedHosts, bonded_hosts
from tests.support.chains import DevChain, dev_chain
from tests.support.daemons import Daemon, daemons, music

STRANGER = "0x" + "9" * 40
SALE = ("--price", "2DEV", "--guardians", "3", "--threshold", "2")


@dataclass
class Stage:
    """An artist with 20 DEV who knows four honest guardians and one that occupies a stranger's device."""

    chain: DevChain
    artist: Daemon
    party: BondedHosts
    root: Path

    def folder(self, name: str, *songs: str) -> str:
        return str(music(self.root / name, *songs)[0].parent)

    def publish(self, folder: str, *words: str) -> Any:
        return self.artist.run("publish", folder, "--title", Path(folder).name, *words)

    def publish_only(self, folder: str, **sale: object) -> str:
        """Publish without the chain, as a command does that is killed then; return the release."""
        name = Path(folder).name
        with self.artist.client() as client:
            body = {"path": folder, "title": name, "sale": sale}
            said = client.post("/api/v1/publish", json=body, timeout=60.0)
            assert '"result"' in said.text, said.text
            items = client.get("/api/v1/releases").json()["data"]["items"]
        return str(next(each["id"] for each in items if each["title"] == name))

    def refused(self, *words: str) -> tuple[int, str]:
        answer = self.artist.try_run(*words)
        return answer.code, answer.error

    def anchored(self, track: str, tier: int = 1) -> tuple[str, int, int]:
        """Return digest, epoch and finality as the chain has them."""
        data = encode_call("TrackRegistry", "keybox", parse_track(track), tier)
        call = {"to": self.chain.contracts["TrackRegistry"], "data": "0x" + data.hex()}
        words = bytes.fromhex(self.chain.rpc("eth_call", call, "latest")[2:])
        return words[:32].hex(), int.from_bytes(words[32:64]), int.from_bytes(words[64:96])

    def start_again(self) -> None:
        self.artist.kill()
        self.artist.start()
        self.meet()

    def meet(self) -> None:
        with self.artist.client() as client:
            for address in self.party.addresses:
                client.post("/api/v1/peers/connect", json={"address": address}).raise_for_status()

    @property
    def bonded(self) -> set[str]:
        return {"0x" + each.account.hex() for each in self.party.guardians if each.kind == "honest"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("selling")
    with (
        dev_chain(root) as chain,
        bonded_hosts(chain, "honest", "stranger", "honest", "honest", "honest") as party,
        daemons(root, "artist") as (artist,),
    ):
        artist.init(chain__profile="dev", chain__endpoints=chain.url)
        artist.start()
        artist.run("faucet", "20DEV")
        found = Stage(chain, artist, party, root)
        found.meet()
        yield found


@pytest.fixture(scope="module")
def album(stage: Stage) -> tuple[str, dict[str, Any]]:
    """The folder of an album and what publishing it said; it was rehearsed before."""
    folder = stage.folder("album", "First Song", "Second Song")
    dry = stage.publish(folder, *SALE, "--dry-run")
    assert stage.artist.run("release", "list")["items"] == []
    assert stage.artist.run("tx")["items"] == []
    done = stage.publish(folder, *SALE, "--yes")
    done["rehearsed"] = dry["sale"]["quote"]
    return folder, done


def test_an_album_is_on_sale_after_one_command(stage: Stage, album: tuple[str, dict[str, Any]]) -> None:
    _, done = album
    assert [(each["what"], each["status"]) for each in done["transactions"]] == [
        ("registry.register", "confirmed"),
        ("registry.anchor", "confirmed"),
        ("licensing.price", "confirmed"),
    ]
    chosen = {each["account"].lower() for each in done["sale"]["guardians"]}
    assert (len(chosen), chosen <= stage.bonded) == (3, True), "one of them occupies a stranger's device"
    assert (done["sale"]["threshold"], done["sale"]["of"], done["sale"]["epoch"]) == (2, 3, 1)
    assert any("at least 4" in each for each in done["sale"]["warnings"])
    assert any("no delegate" in each for each in done["sale"]["warnings"])
    terms = stage.artist.run("terms", done["release"])
    assert [each["price"] for each in terms["items"]] == ["2 DEV"]
    digests = {stage.anchored(each["id"], tier)[0] for each in done["tracks"] for tier in (1, 2)}
    assert len(digests) == 4
    assert {stage.anchored(each["id"])[1:] for each in done["tracks"]} == {(1, 0)}
    assert int(stage.anchored(done["tracks"][0]["id"], 0)[0], 16) == 0, "the preview is free"


def test_a_rehearsal_shows_gas_and_fees_that_hold(album: tuple[str, dict[str, Any]]) -> None:
    _, done = album
    shown, real = done["rehearsed"], done["transactions"]
    assert shown["confirm"] is None
    assert [each["what"] for each in shown["transactions"]] == [each["what"] for each in real]
    for said, sent in zip(shown["transactions"], real, strict=True):
        assert sent["gas_used"] <= said["gas"] < 5 * sent["gas_used"]
    assert float(shown["fee_max"].split()[0]) > sum(float(each["fee"].split()[0]) for each in real)


def test_publishing_again_sends_nothing(stage: Stage, album: tuple[str, dict[str, Any]]) -> None:
    folder, done = album
    again = stage.publish(folder, *SALE, "--yes")
    assert (again["is_unchanged"], again["release"]) == (True, done["release"])
    assert again["transactions"] == []
    assert again["warnings"] == []
    dearer = stage.publish(folder, *SALE[:1], "3DEV", "--split", f"{STRANGER}=10%", "--yes")
    assert [each["what"] for each in dearer["transactions"]] == ["licensing.price"]
    assert "who is paid stays as it was" in dearer["warnings"][0]


def test_a_reissue_moves_the_keys_to_guardians_that_live(
    stage: Stage, album: tuple[str, dict[str, Any]]
) -> None:
    folder, done = album
    track = done["tracks"][0]["id"]
    first = stage.anchored(track)
    chosen = {each["peer"] for each in done["sale"]["guardians"]}
    gone = [
        each
        for each, address in zip(stage.party.guardians, stage.party.addresses, strict=True)
        if address.rpartition("/")[2] in chosen
    ][:1]
    for each in gone:
        each.kind = "gone"
    try:
        status = stage.artist.run("release", "status", done["release"], code=8)
        assert (status["keys"]["ready"], status["keys"]["is_enough"], status["keys"]["is_thin"]) == (
            2,
            True,
            True,
        )
        said = stage.artist.try_run("release", "status", done["release"], is_json=False).out
        assert "2 of 3 guardians are ready and 2 are needed" in said
        assert "marina release reissue" in said
        dry = stage.artist.run("release", "reissue", done["release"], "--dry-run")
        assert (len(dry["guardians"]), dry["transactions"]) == (3, [])
        assert stage.anchored(track) == first
        made = stage.artist.run("release", "reissue", done["release"], "--yes")
    finally:
        for each in gone:
            each.kind = "honest"
    assert (made["version"], made["is_resumed"], made["threshold"]) == (2, False, 2)
    assert [each["what"] for each in made["transactions"]] == ["registry.anchor"]
    assert {"0x" + each.account.hex() for each in gone} & {
        each["account"].lower() for each in made["guardians"]
    } == set()
    second = stage.anchored(track)
    assert second[1:] == (2, 0)
    assert second[0] != first[0]
    again = stage.publish(folder, *SALE, "--yes")
    assert (again["version"], again["transactions"]) == (2, [])


def test_a_kill_between_two_steps_goes_on_where_it_was(
    stage: Stage, album: tuple[str, dict[str, Any]]
) -> None:
    _, done = album
    sale = {"prices": [{"price": "1DEV"}], "guardians": 3, "threshold": 2}
    cut, half = stage.folder("cut", "Third Song"), stage.folder("half", "Fourth Song")
    published, registered = stage.publish_only(cut, **sale), stage.publish_only(half, **sale)
    stage.artist.run("release", "register", registered, "--yes")
    with stage.artist.client() as client:
        asked = client.post(f"/api/v1/releases/{done['release']}/reissue", json={}, timeout=60.0)
        version = asked.json()["data"]["version"]
    epoch = stage.anchored(done["tracks"][0]["id"])[1]
    manifest = stage.artist.run("show", published)["cid"]
    stage.start_again()

    other = ("--price", "1DEV", "--guardians", "4", "--threshold", "4", "--yes")
    first = stage.publish(cut, *other)
    assert (first["is_unchanged"], first["release"], first["cid"]) == (True, published, manifest)
    assert [each["what"] for each in first["transactions"]] == [
        "registry.register",
        "registry.anchor",
        "licensing.price",
    ]
    assert (first["sale"]["threshold"], first["sale"]["of"]) == (2, 3), "those that were drawn at first"
    second = stage.publish(half, *other)
    assert [each["what"] for each in second["transactions"]] == ["registry.anchor", "licensing.price"]
    assert stage.anchored(second["tracks"][0]["id"])[1] == 1
    third = stage.artist.run("release", "reissue", done["release"], "--yes")
    assert (third["is_resumed"], third["version"]) == (True, version)
    assert stage.anchored(done["tracks"][0]["id"])[1] == epoch + 1


def test_a_delegate_gets_the_keys_and_a_later_reissue_keeps_it(stage: Stage) -> None:
    folder = stage.folder("delegated", "Fifth Song")
    delegate = stage.party.guardians[0]
    key = holder_text(delegate.holder)
    done = stage.publish(folder, *SALE, "--delegate", key, "--not-before", "2020-01-01", "--yes")
    peer = stage.party.addresses[0].rpartition("/")[2]
    assert done["sale"]["delegates"] == [peer]
    assert peer not in {each["peer"] for each in done["sale"]["guardians"]}
    (warning,) = done["sale"]["warnings"]
    assert "have at least 4" in warning
    assert stage.anchored(done["tracks"][0]["id"])[1:] == (1, 2), (
        "of what comes out later, purchases are final"
    )
    made = stage.artist.run("release", "reissue", done["release"], "--guardians", "0", "--yes")
    assert (made["delegates"], made["guardians"]) == ([peer], [])
    assert stage.anchored(done["tracks"][0]["id"])[1:] == (2, 2)


def test_what_cannot_be_is_refused_before_anything_is_encrypted(stage: Stage) -> None:
    folder = stage.folder("refused", "Sixth Song")
    stranger = holder_text(KeyHolder(os.urandom(32), os.urandom(32)))
    cases = {
        ("--price", "2DEV"): (2, "5 guardians are registered and 7 are wanted"),
        ("--price", "2DEV", "--guardians", "3", "--threshold", "4"): (2, "the threshold is 1 to 3"),
        ("--price", "2DEV", "--guardians", "0"): (2, "nobody would keep the keys"),
        ("--price", "2NOPE", "--guardians", "3"): (2, "NOPE"),
        (*SALE, "--delegate", stranger[:-2]): (2, "marina guardian id"),
        (*SALE, "--split", "nobody=10%"): (4, "nobody"),
    }
    for words, (code, text) in cases.items():
        found = stage.refused("publish", folder, "--title", "refused", *words, "--yes")
        assert (found[0], text in found[1]) == (code, True), (words, found)
    with stage.artist.client() as client:
        for sale in (
            [],
            {"prices": {}},
            {"prices": [[]]},
            {"guardians": "three"},
            {"finality": "3"},
            {"splits": 1},
        ):
            body = {"path": folder, "title": "refused", "sale": sale}
            assert client.post("/api/v1/publish", json=body).status_code == 400, sale
    assert "refused" not in {each["title"] for each in stage.artist.run("release", "list")["items"]}


def test_nothing_is_published_while_too_few_guardians_answer(stage: Stage) -> None:
    folder = stage.folder("silent", "Seventh Song")
    for each in stage.party.guardians:
        each.kind = "gone"
    try:
        code, said = stage.refused("publish", folder, "--title", "silent", *SALE, "--yes")
    finally:
        for number, each in enumerate(stage.party.guardians):
            each.kind = "stranger" if number == 1 else "honest"
    assert (code, "0 of 5 guardians answer now and 2 are needed" in said) == (7, True), said
    assert "silent" not in {each["title"] for each in stage.artist.run("release", "list")["items"]}
