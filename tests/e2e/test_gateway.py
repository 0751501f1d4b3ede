"""The gateway of a running node: off until its owner says so, there again after a restart, gone when told."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from marina.cid import parse_cid
from storage.content.car import read_car
from tests.support.daemons import daemons, free_port, music, start_all


def test_the_owner_switches_it_and_it_serves_what_is_on_the_disk(tmp_path: Path) -> None:
    with daemons(tmp_path, "artist") as (artist,):
        start_all(artist)
        assert artist.run("gateway")["on"] is False
        port = free_port()
        facts = artist.run("gateway", "enable", "--host", "127.0.0.1", "--port", str(port))
        assert facts["urls"] == [f"http://127.0.0.1:{port}"]
        files = music(tmp_path / "music", "Harbour Lights")
        done = artist.run("publish", str(files[0].parent), "--title", "Tides", "--artist", "Ada")
        exported = artist.run("release", "export", done["release"], str(tmp_path / "tides.car"))
        artist.stop()
        artist.start()
        url = f"http://127.0.0.1:{port}/ipfs/{done['cid']}"
        car = httpx.get(url, params={"format": "car"}, trust_env=False).content
        reader = read_car(car)
        cids = {each.cid for each in reader}
        assert reader.roots == (parse_cid(done["cid"]),)
        assert len(cids) == exported["blocks"]
        told = artist.try_run("gateway", "status", is_json=False)
        assert f"http://127.0.0.1:{port}" in told.out
        artist.run("gateway", "disable")
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, trust_env=False)
        artist.stop()
        artist.start()
        assert artist.run("gateway")["on"] is False
