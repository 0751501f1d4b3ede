"""A delegate keeps a sale going: the artist is gone, then the guardians, then the delegate itself."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.bonded import bonded_hosts
from tests.support.chains import dev_chain
from tests.support.daemons import Daemon, daemons, music
from tests.support.paid import wait_until


def hear(node: Daemon, track: str, folder: Path) -> list[str]:
    """Hear a whole track and return who released its key."""
    song = folder / f"{node.home.parent.name}-{time.monotonic_ns()}.wav"
    node.run("play", track, "--wav", str(song))
    assert song.stat().st_size > 100_000
    (key,) = node.run("why", track)["keys"]
    return list(key["guardians"])


def test_a_delegate_sells_on_and_finds_new_guardians_when_the_artist_is_gone(tmp_path: Path) -> None:
    with (
        dev_chain(tmp_path) as chain,
        bonded_hosts(chain, *["honest"] * 6) as party,
        daemons(tmp_path, "artist", "delegate", "first", "second") as (artist, delegate, first, second),
    ):
        nodes = (artist, delegate, first, second)

        def begin(node: Daemon) -> None:
            pledging = {"operator__accept_pledges": "true"} if node is delegate else {}
            node.init(chain__profile="dev", chain__endpoints=chain.url, **pledging)
            node.start()
            chain.fund(node.run("id")["account"])

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(begin, nodes))
        delegate.run("guardian", "enable", "--delegate")
        for node in nodes:
            others = [each.address() for each in nodes[:3] if each is not node]
            with node.client() as client:
                for address in (*party.addresses, *others):
                    client.post("/api/v1/peers/connect", json={"address": address}).raise_for_status()
        key = delegate.run("guardian", "id")["key"]
        folder = music(tmp_path / "music", "Only Song")[0].parent
        done = artist.run(
            "publish", str(folder), "--price", "2DEV", "--guardians", "3", "--threshold", "2", "--delegate",
            key, "--replicas", "1", "--yes",
        )  # fmt: skip
        release, track = done["release"], done["tracks"][0]["id"]
        wait_until(lambda: artist.try_run("release", "status", release).data["replicas"] >= 1, timeout_s=60)
        link = artist.run("share", release)["link"]
        for node in (delegate, first, second):
            node.run("show", link)

        refused = delegate.try_run("release", "reissue", release, "--yes")
        assert (refused.code, "may not anchor" in refused.error) == (5, True), refused
        assert "marina release allow" in refused.error
        stranger = first.try_run("release", "reissue", release, "--yes")
        assert (stranger.code, "no delegate" in stranger.error) == (5, True), stranger
        allowed = artist.run("release", "allow", release, key, "--yes")
        assert [each["what"] for each in allowed["transactions"]] == ["registry.writer"]
        again = artist.try_run("release", "allow", release, key, "--yes")
        assert "nothing to do" in again.error, again
        artist.kill()
        artist.home.rename(tmp_path / "gone")

        chosen = {each["peer"] for each in done["sale"]["guardians"]}
        for guardian, address in zip(party.guardians, party.addresses, strict=True):
            if address.rpartition("/")[2] in chosen:
                guardian.kind = "gone"
        first.run("buy", release, "--yes")
        assert hear(first, track, tmp_path) == [delegate.run("id")["peer"]]

        made = delegate.run("release", "reissue", release, "--yes")
        fresh = {each["peer"] for each in made["guardians"]}
        assert (len(fresh), fresh & chosen, made["version"]) == (3, set(), 1)
        assert made["delegates"] == [delegate.run("id")["peer"]]
        assert [each["what"] for each in made["transactions"]] == ["registry.anchor"]
        assert delegate.run("release", "status", release, code=8)["keys"]["epoch"] == 2
        # What the chain names is brought while somebody has it: here by who looks at the price.
        second.run("terms", track)
        delegate.kill()

        second.run("buy", release, "--yes")
        assert set(hear(second, track, tmp_path)) <= fresh
