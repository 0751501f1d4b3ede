"""A listener's real node, a real artist's node, a real development chain, and seven guardians."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.chains import DevChain, dev_chain
from tests.support.daemons import Daemon, daemons, music
from tests.support.paid import GuardianHosts, PaidAlbum, guardian_hosts, publish_paid, sell, wait_until


@dataclass
class Stage:
    """An album of two tracks for 2 DEV, 0.5 DEV a track; the artist's node keeps running."""

    chain: DevChain
    artist: Daemon
    listener: Daemon
    party: GuardianHosts
    album: PaidAlbum

    def keys(self, track: str) -> list[dict[str, object]]:
        """The keys of a track that the listener holds."""
        found: list[dict[str, object]] = self.listener.run("why", track)["keys"]
        return found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("paid")
    with (
        dev_chain(root) as chain,
        guardian_hosts(*["honest"] * 7) as party,
        daemons(root, "artist", "listener") as (artist, listener),
    ):
        for node in (artist, listener):
            node.init(chain__profile="dev", chain__endpoints=chain.url)
        folder = music(root / "music", "First Song", "Second Song")[0].parent
        album = publish_paid(artist, folder, party, chain)
        artist.start()
        listener.start()
        for node in (artist, listener):
            node.run("faucet", "20DEV")
        sell(artist, album)
        listener.run("show", artist.run("share", album.release)["link"])
        for address in party.addresses:
            listener.run("peers", "connect", address)
        yield Stage(chain, artist, listener, party, album)


def test_a_track_that_is_sold_is_heard_after_it_was_bought(stage: Stage, tmp_path: Path) -> None:
    track = stage.album.tracks[0]
    refused = stage.listener.try_run("play", track, "--wav", str(tmp_path / "no.wav"))
    assert refused.code == 6, refused
    for words in ("0.5 DEV", f"marina buy {track}", "--preview"):
        assert words in refused.error
    assert not (tmp_path / "no.wav").exists()

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


def test_a_key_comes_by_itself_after_the_purchase_and_liars_are_named(stage: Stage) -> None:
    track = stage.album.tracks[1]
    for each in stage.party.guardians[:4]:
        each.kind = "liar"
    try:
        stage.listener.run("buy", track, "--yes")
        (key,) = wait_until(lambda: stage.keys(track))  # type: ignore[misc]
        faults = stage.listener.run("why", track)["faults"]
    finally:
        for each in stage.party.guardians:
            each.kind = "honest"
    liars = {address.rpartition("/")[2] for address in stage.party.addresses[:4]}
    assert faults, "of the first four that are asked at least one is a liar"
    assert {each["guardian"] for each in faults} <= liars
    assert all(each["proven"] for each in faults)
    assert not set(key["guardians"]) & liars
