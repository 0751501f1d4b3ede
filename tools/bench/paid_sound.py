"""From the owner's yes to a purchase to its sound: real nodes, the development chain, seven guardians.

The clock starts when the purchase is confirmed to the node and stops when the stream has given the 16 KiB
that a decoder needs and 0.2 s of sound: signing, one block, key release and the sound lie in between. The
guardians judge with the real judge and read the real chain.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import httpx

from tests.support.chains import dev_chain
from tests.support.daemons import daemons, music
from tests.support.paid import introduce, publish_paid, sell
from tools.bench.paid_guardians import party
from tools.bench.report import PURCHASE_SOUND, Measurement
from tools.bench.scale import Bench
from tools.bench.stats import spread

GUARDIANS = 7
PURCHASES = 12
HEAD_BYTES = 16 * 1024
SOUND_S = 0.2


def measure(bench: Bench) -> Iterator[Measurement]:
    """Buy one track after another."""
    root = bench.folder / "paid-sound"
    root.mkdir()
    count = bench.count(PURCHASES, least=3)
    with (
        dev_chain(root) as chain,
        party(root / "guardians", chain.url, ["honest"] * GUARDIANS) as guardians,
        daemons(root, "artist", "listener") as (artist, listener),
    ):
        for node in (artist, listener):
            node.init(chain__profile="dev", chain__endpoints=chain.url)
        titles = [f"Song {number}" for number in range(count)]
        folder = music(root / "music", *titles)[0].parent
        album = publish_paid(artist, folder, guardians, chain)  # type: ignore[arg-type]  # names keys alike
        for node in (artist, listener):
            node.start()
            chain.fund(node.run("id")["account"])
        sell(artist, album)
        introduce(artist, album, guardians, listener)  # type: ignore[arg-type]
        with listener.client() as client:
            times = [_bought(client, track) for track in album.tracks]
    whole = [each[0] for each in times]
    mined = [each[1] for each in times]
    how = (
        f"{len(times)} purchases on the development chain, {GUARDIANS} guardians that read it; median, s "
        f"{spread(whole, 2)}; of that from the block to the sound {spread(mined, 2)}"
    )
    yield Measurement(PURCHASE_SOUND, statistics.median(whole), how + bench.scale_note)


def _bought(client: httpx.Client, track: str) -> tuple[float, float]:
    """Return the seconds from the owner's yes, and from the block, to the sound."""
    quote = _data(client.post("/api/v1/market/buy", json={"target": track}))
    began_s = time.perf_counter()
    sent = _data(client.post("/api/v1/wallet/confirm", json={"confirm": quote["confirm"]}))["items"]
    _data(client.get(f"/api/v1/transactions/{sent[-1]['id']}", params={"wait_s": 20}))
    mined_s = time.perf_counter()
    session = _data(client.post("/api/v1/play", json={"target": track, "quality": "high"}))
    needed = min(session["bytes"], HEAD_BYTES + int(session["bitrate_bps"] / 8 * SOUND_S))
    with client.stream("GET", session["stream_url"]) as stream:
        stream.raise_for_status()
        got = 0
        for part in stream.iter_bytes():
            got += len(part)
            if got >= needed:
                break
    heard_s = time.perf_counter()
    return heard_s - began_s, heard_s - mined_s


def _data(reply: httpx.Response) -> dict:  # type: ignore[type-arg]  # JSON
    reply.raise_for_status()
    found: dict = reply.json()["data"]  # type: ignore[type-arg]
    return found
