"""kill -9 at random moments of many purchases: each is paid once, and in the end its key is here."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.chains import dev_chain
from tests.support.daemons import daemons, music
from tests.support.paid import buy_and_kill, buyer, check_bought_once, guardian_hosts, publish_paid, sell

BUYERS, KILLS = 10, 3


@pytest.mark.slow
def test_purchases_that_are_killed_at_random_moments_are_each_paid_once(tmp_path: Path) -> None:
    rng = random.Random(4)
    with (
        dev_chain(tmp_path) as chain,
        guardian_hosts(*["honest"] * 4, prefix="kill") as party,
        daemons(tmp_path, "artist") as (artist,),
    ):
        artist.init(chain__profile="dev", chain__endpoints=chain.url)
        album = publish_paid(artist, music(tmp_path / "music", "A Song")[0].parent, party, chain)
        artist.start()
        chain.fund(artist.run("id")["account"])
        sell(artist, album)
        for number in range(BUYERS):
            with daemons(tmp_path, f"buyer{number}") as (node,):
                before = buyer(chain, artist, album, party, node)
                buy_and_kill(node, album.tracks[0], [rng.uniform(0.2, 1.5) for _ in range(KILLS)])
                check_bought_once(chain, node, album.tracks[0], before)
