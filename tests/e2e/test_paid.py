"""Paid music on real nodes: an artist, a listener, a friend, guardians, and a real development chain."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.browser import AUDIO, Browser, in_browser, needs_chromium
from tests.support.chains import DevChain, dev_chain
from tests.support.daemons import PASSPHRASE, Daemon, daemons, end, environment, music, wait_said
from tests.support.paid import (
    GuardianHosts,
    PaidAlbum,
    buy_and_kill,
    buyer,
    check_bought_once,
    guardian_hosts,
    introduce,
    publish_paid,
    sell,
    wait_until,
)

DAY_S = 86_400


@dataclass
class Stage:
    """An album of two tracks for 2 DEV, 0.5 DEV a track; the first is also let for 30 days at 0.1 DEV."""

    chain: DevChain
    artist: Daemon
    listener: Daemon
    friend: Daemon
    party: GuardianHosts
    album: PaidAlbum

    @property
    def asked(self) -> int:
        """How often guardians were asked."""
        return sum(each.asked for each in self.party.guardians)

    def keys(self, track: str) -> list[dict[str, Any]]:
        """The keys of a track that the listener holds."""
        found: list[dict[str, Any]] = self.listener.run("why", track)["keys"]
        return found

    def bought(self, node: Daemon) -> int:
        """How many licences a node paid for."""
        return len(node.run("tx", "list", "--what", "licence")["items"])


def heard(node: Daemon, track: str, folder: Path, *options: str) -> int:
    """Play a track into a file and return the exit code."""
    return node.try_run("play", track, "--wav", str(folder / f"{os.urandom(4).hex()}.wav"), *options).code


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("paid")
    with (
        dev_chain(root) as chain,
        guardian_hosts(*["honest"] * 7) as party,
        daemons(root, "artist", "listener", "friend") as (artist, listener, friend),
    ):
        nodes = (artist, listener, friend)

        def begin(node: Daemon) -> None:
            node.start()
            chain.fund(node.run("id")["account"])

        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(lambda node: node.init(chain__profile="dev", chain__endpoints=chain.url), nodes))
            others = [pool.submit(begin, node) for node in (listener, friend)]
            folder = music(root / "music", "First Song", "Second Song")[0].parent
            album = publish_paid(artist, folder, party, chain)
            begin(artist)
            for each in others:
                each.result()
        sell(artist, album)
        artist.run("release", "price", album.tracks[0], "--price", "0.1DEV", "--period", "30d", "--yes")
        introduce(artist, album, party, listener, friend)
        yield Stage(chain, artist, listener, friend, party, album)


def test_a_track_that_is_sold_is_heard_after_it_was_bought(stage: Stage, tmp_path: Path) -> None:
    track = stage.album.tracks[0]
    refused = stage.listener.try_run("play", track, "--wav", str(tmp_path / "no.wav"))
    assert refused.code == 6, refused
    for words in ("0.5 DEV", f"marina buy {track}", "--preview"):
        assert words in refused.error
    saved = tmp_path / "no.opus"
    kept = stage.listener.try_run("get", track, "--quality", "high", "--save", str(saved))
    assert kept.code == 6, kept
    assert not list(tmp_path.iterdir()), "not one byte of it, nor half a file"

    bought = stage.listener.run("buy", track, "--yes")
    assert bought["transactions"][0]["status"] == "confirmed"
    played = stage.listener.run("play", track, "--wav", str(tmp_path / "song.wav"))
    assert played["tier"] == 1
    assert (tmp_path / "song.wav").stat().st_size > 100_000


def test_the_preview_plays_at_once_without_a_licence(stage: Stage, tmp_path: Path) -> None:
    track = stage.album.tracks[1]
    played = stage.listener.run("play", track, "--preview", "--wav", str(tmp_path / "preview.wav"))
    assert (played["tier"], (tmp_path / "preview.wav").stat().st_size > 100_000) == (0, True)
    assert stage.keys(track) == []


def test_why_adds_up_to_what_peers_sent_guardians_released_and_was_paid(stage: Stage) -> None:
    track = stage.album.tracks[0]
    facts = stage.listener.run("why", track)
    artist = stage.artist.facts()["peer"]
    for each in facts["renditions"]:
        assert each["bytes"] == sum(peer["bytes"] for peer in each["peers"])
        assert each["segments_fetched"] == sum(peer["segments"] for peer in each["peers"])
        assert {peer["peer"] for peer in each["peers"]} <= {artist}
    assert facts["bytes"] == sum(each["bytes"] for each in facts["renditions"]) > 300_000
    (key,) = facts["keys"]
    ours = {address.rpartition("/")[2] for address in stage.party.addresses}
    assert (len(set(key["guardians"])), set(key["guardians"]) <= ours, key["epoch"]) == (3, True, 1)
    (licence,) = facts["licences"]
    assert key["licence"] == licence["licence"]
    (paid,) = facts["payments"]
    assert (paid["amount"], paid["symbol"]) == ("0.5 DEV", "DEV")
    assert sum(int(each["units"]) for each in paid["shares"]) == int(paid["units"])
    assert sum(int(each["units"]) for each in facts["splits"]) == int(facts["paid"][0]["units"])
    receipt = stage.chain.rpc("eth_getTransactionReceipt", paid["transaction"])
    assert int(receipt["blockNumber"], 16) == paid["block"]
    text = stage.listener.try_run("why", track, is_json=False).out
    assert "0.5 DEV" in text
    assert "released" in text


def test_nothing_is_paid_while_too_few_guardians_are_ready(stage: Stage) -> None:
    track, before = stage.album.tracks[1], len(stage.listener.run("tx")["items"])
    for each in stage.party.guardians[:5]:
        each.kind = "gone"
    try:
        refused = stage.listener.try_run("buy", track, "--yes")
        said = stage.listener.run("terms", track)["assurance"]["quorum"]
    finally:
        for each in stage.party.guardians:
            each.kind = "honest"
    assert refused.code == 7, refused
    assert "2 of 7 guardians are ready and 3 are needed" in refused.error
    assert "nothing was paid" in refused.error
    assert (said["ready"], said["needed"], said["of"], said["enough"]) == (2, 3, 7, False)
    assert len(stage.listener.run("tx")["items"]) == before


def test_a_key_comes_by_itself_after_the_purchase_and_liars_are_named(stage: Stage, tmp_path: Path) -> None:
    track, said = stage.album.tracks[1], tmp_path / "sales"
    following = stage.artist.spawn("earnings", "--follow", secret=None, output=said)
    wait_said(said, "marina withdraw")
    for each in stage.party.guardians[:4]:
        each.kind = "liar"
    for each in stage.party.guardians[4:]:
        each.delay_s = 0.15  # the liars are heard first
    try:
        stage.listener.run("buy", track, "--yes")
        (key,) = wait_until(lambda: stage.keys(track))  # type: ignore[misc]
        faults = stage.listener.run("why", track)["faults"]
    finally:
        for each in stage.party.guardians:
            each.kind, each.delay_s = "honest", 0.002
        sold = wait_said(said, "+ ")
        end(following, signal.SIGINT)
    assert "+ 0.4875 DEV  “Second Song”" in sold, (
        "the artist sees the sale as it arrives, the DAO's part apart"
    )
    liars = {address.rpartition("/")[2] for address in stage.party.addresses[:4]}
    assert faults, "of the first four that are asked at least one is a liar"
    assert {each["guardian"] for each in faults} <= liars
    assert all(each["proven"] for each in faults)
    assert not set(key["guardians"]) & liars


def test_a_second_device_of_the_same_owner_gets_the_key_again_and_pays_nothing(
    stage: Stage, tmp_path: Path
) -> None:
    track = stage.album.tracks[1]
    assert heard(stage.listener, track, tmp_path) == 0
    with daemons(tmp_path, "second") as (second,):
        reader, writer = os.pipe()
        os.write(writer, (" ".join(stage.listener.words) + "\n").encode())
        os.close(writer)
        command = second.command("init", "--restore", "--passphrase-fd", "0", "--words-fd", str(reader))
        subprocess.run(
            command, input=f"{PASSPHRASE}\n".encode(), check=True, timeout=60, env=environment(),
            pass_fds=[reader], capture_output=True,
        )  # fmt: skip
        os.close(reader)
        second.run("config", "set", "chain.profile", "dev")
        second.run("config", "set", "chain.endpoints", stage.chain.url)
        second.start()
        introduce(stage.artist, stage.album, stage.party, second)
        assert heard(second, track, tmp_path) == 0
        facts = second.run("why", track)
        assert len(facts["payments"]) == 1, "the one payment of the first device"
        assert facts["keys"][0]["guardians"]
        assert stage.bought(second) == 0
        already = second.try_run("buy", track, "--yes")
        assert (already.code, "no end already" in already.error) == (5, True), already


def test_a_gift_is_heard_by_who_got_it_and_paid_by_who_gave_it(stage: Stage, tmp_path: Path) -> None:
    track = stage.album.tracks[1]
    assert heard(stage.friend, track, tmp_path) == 6
    stage.listener.run("gift", track, stage.friend.run("id")["account"], "--yes")
    assert heard(stage.friend, track, tmp_path) == 0
    assert stage.bought(stage.friend) == 0
    (paid,) = stage.friend.run("why", track)["payments"]
    assert paid["payer"].lower() == stage.listener.run("id")["account"].lower()


def test_without_the_chain_what_was_heard_plays_and_what_was_not_does_not(
    stage: Stage, tmp_path: Path
) -> None:
    first, second = stage.album.tracks
    stage.chain.stop()
    try:
        assert heard(stage.friend, second, tmp_path) == 0
        assert heard(stage.friend, second, tmp_path, "--offline") == 0
        assert heard(stage.friend, first, tmp_path) == 7
        assert heard(stage.friend, first, tmp_path, "--offline") == 6
        assert heard(stage.friend, first, tmp_path, "--preview") == 0
    finally:
        stage.chain.start()


def test_a_purchase_that_is_killed_on_its_way_is_paid_once_and_its_key_comes_by_itself(
    stage: Stage, tmp_path: Path
) -> None:
    track = stage.album.tracks[0]
    with daemons(tmp_path, "killed") as (node,):
        before = buyer(stage.chain, stage.artist, stage.album, stage.party, node)
        buy_and_kill(node, track, [0.6])
        check_bought_once(stage.chain, node, track, before)


def test_at_its_end_the_sound_stops_and_a_renewal_goes_on_without_a_guardian(
    stage: Stage, tmp_path: Path
) -> None:
    track, friend = stage.album.tracks[0], stage.friend
    friend.run("wallet", "create", "purse")
    (purse,) = [each for each in friend.run("wallet")["items"] if each["name"] == "purse"]
    stage.chain.fund(purse["address"])
    friend.run("buy", track, "--term", "1", "--account", "purse", "--yes")  # the licence is the friend's
    with friend.client() as client:
        opened = client.post("/api/v1/play", json={"target": track, "quality": "low"}).json()["data"]
        url = friend.facts()["url"] + opened["stream_url"]
        assert httpx.get(url, headers={"range": "bytes=0-99"}, trust_env=False).status_code == 206
        asked = stage.asked
        stage.chain.rpc("evm_increaseTime", 31 * DAY_S)
        stage.chain.rpc("evm_mine")

        def is_over() -> bool:
            facts: dict[str, Any] = client.get(f"/api/v1/player/sessions/{opened['session']}").json()["data"]
            return not facts["licensed"]

        wait_until(is_over, timeout_s=8)
        assert httpx.get(url, headers={"range": "bytes=0-99"}, trust_env=False).status_code == 402
    ended = friend.try_run("play", track, "--wav", str(tmp_path / "no.wav"))
    assert (ended.code, "ended" in ended.error) == (6, True), ended
    friend.run("renew", track, "--term", "1", "--yes")
    assert heard(friend, track, tmp_path) == 0
    assert stage.asked == asked, "the key was here: the chain alone was asked"
    assert stage.bought(friend) == 2


def test_what_is_paid_back_is_heard_no_longer(stage: Stage, tmp_path: Path) -> None:
    track, friend = stage.album.tracks[0], stage.friend
    (licence,) = [each for each in friend.run("licence")["items"] if each["id"] == track]
    stage.artist.run("licence", "refund", licence["licence"], "--yes")
    assert heard(friend, track, tmp_path) == 6
    (shown,) = friend.run("why", track)["licences"]
    assert shown["refunded"] is True


@needs_chromium
async def test_a_person_hears_the_preview_and_the_price_and_buys_in_the_browser(
    stage: Stage, tmp_path: Path
) -> None:
    track, friend = stage.album.tracks[0], stage.friend
    player = friend.run("up")["link"]

    def visit(browser: Browser) -> None:
        browser.driver.get(player)
        browser.until("document.getElementById('query')")
        browser.click("#query")
        browser.press("first song")
        browser.until("/First Song/.test(document.getElementById('results').textContent)")
        browser.click("#results li button")
        browser.until(f"{AUDIO}.currentTime > 0.5 && {AUDIO}.duration < 20", timeout_s=60)
        browser.until("!document.getElementById('buy').hidden", timeout_s=10)
        assert "0.5 DEV" in browser.text("#offer")
        assert "7 of 7 guardians" in browser.text("#offer")
        assert "marina buy" not in browser.text("#offer")
        browser.shot("preview-and-price")
        browser.click("#buy")
        browser.until("!document.getElementById('pay').hidden")
        assert "Total 0.5 DEV" in browser.text("#offer")
        browser.press("not my passphrase\ue007")
        browser.until("/passphrase/.test(document.getElementById('offer').textContent)")
        assert stage.bought(friend) == 2, "nothing was paid"
        browser.click("#no")
        browser.click("#results li button")
        browser.until("!document.getElementById('buy').hidden", timeout_s=10)
        browser.click("#buy")
        browser.until("!document.getElementById('pay').hidden")
        browser.press(PASSPHRASE + "\ue007")
        browser.until("document.getElementById('shop').hidden", timeout_s=20)
        browser.until(f"{AUDIO}.currentTime > 0.5 && {AUDIO}.duration > 20", timeout_s=20)
        browser.shot("bought")
        assert not [
            line for line in browser.log() if "Content Security Policy" in line or "TypeError" in line
        ]

    await in_browser(tmp_path, visit)
    assert stage.bought(friend) == 3
    assert friend.run("terms", track)["yours_until_s"]["stream"] == "forever"
