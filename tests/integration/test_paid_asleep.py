"""The artist is gone after a reissue: operators have the new keybox, new guardians the new shares."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.bonded import bonded_hosts
from tests.support.chains import dev_chain
from tests.support.daemons import Daemon, daemons, music

DEADLINE_S = 60.0


def status_when(
    artist: Daemon, release: str, condition: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    """Return the first status for which the condition holds."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition(status := artist.try_run("release", "status", release).data):
        assert time.monotonic() < deadline_s, status
        time.sleep(0.3)
    return status


@pytest.mark.slow
def test_a_reissue_reaches_operators_so_that_the_artist_can_vanish(tmp_path: Path) -> None:
    with (
        dev_chain(tmp_path) as chain,
        bonded_hosts(chain, *["honest"] * 5) as party,
        daemons(tmp_path, "artist", "operator", "listener") as (artist, operator, listener),
    ):
        settings = {"chain__profile": "dev", "chain__endpoints": chain.url}
        artist.init(**settings)
        listener.init(**settings)
        operator.init(**settings, operator__accept_pledges="true")
        for node in (artist, operator, listener):
            node.start()
        for node in (artist, listener):
            node.run("faucet", "20DEV")
            for address in (*party.addresses, operator.address()):
                node.run("peers", "connect", address)
        folder = music(tmp_path / "music", "Only Song")[0].parent
        sale = ("--price", "2DEV", "--guardians", "3", "--threshold", "2", "--replicas", "1", "--yes")
        release = artist.run("publish", str(folder), *sale)["release"]
        status_when(artist, release, lambda status: status["replicas"] == 1)
        assert artist.run("release", "reissue", release, "--yes")["version"] == 2
        kept = status_when(artist, release, lambda status: status["replicas"] == 1)
        assert (kept["wanted"], kept["keys"]["epoch"]) == (1, 2)
        link = artist.run("share", release)["link"]
        artist.kill()
        artist.home.rename(tmp_path / "gone")

        listener.run("show", link)
        listener.run("buy", release, "--yes")
        track = listener.run("show", release)["tracks"][0]["id"]
        song = tmp_path / "song.wav"
        listener.run("play", track, "--wav", str(song))
        assert song.stat().st_size > 100_000
        (key,) = listener.run("why", track)["keys"]
        assert (key["epoch"], len(set(key["guardians"]))) == (2, 2)
