"""From a listener's request to sound, through two real daemons and their HTTP interface.

The clock starts before POST /play and stops when the stream has given the 16 KiB that a decoder needs
for its headers and 0.2 s of the rendition's bitrate (design, architecture §13 and performance §6).
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx

from p2p.links import LinkProvider, make_link, parse_link
from tests.support.daemons import Daemon, daemons
from tools.bench.child import ROOT
from tools.bench.report import (
    SEEK,
    SOUND_CACHED,
    SOUND_COLD,
    SOUND_LINK_COLD,
    SOUND_LINK_WARM,
    SOUND_WARM,
    Goal,
    Measurement,
)
from tools.bench.scale import Bench
from tools.bench.stats import percentile, spread

HEAD_BYTES = 16 * 1024
SOUND_S = 0.2
DELAY_MS = 25.0
MBIT = 20.0
LONG_S = 240


def measure(bench: Bench) -> list[Measurement]:
    """Measure every case."""
    with daemons(bench.folder, "artist") as (artist,):
        artist.init()
        artist.start()
        tracks = _publish(artist, _songs(bench.folder / "songs", bench.count(28, least=8)))
        (long,) = _publish(artist, _long(bench.folder / "long"))
        direct = [_link(artist, track) for track in tracks]
        with _line(artist) as port:
            slow = [_through(link, port) for link in direct]
            return [
                *_warm_and_cached(bench, direct),
                _cold(bench, SOUND_COLD, direct, bench.count(8, least=3), "cold"),
                _warm(bench, SOUND_LINK_WARM, slow, "linewarm"),
                _cold(bench, SOUND_LINK_COLD, slow, bench.count(6, least=3), "linecold"),
                _seek(bench, _link(artist, long)),
            ]


def _warm_and_cached(bench: Bench, links: list[str]) -> list[Measurement]:
    with _listener(bench, "warm") as listener, listener.client() as client:
        warm = _play_all(client, links)
        for link in links[:10]:
            listener.run("get", link, "--quality", "original")
        cached = [_first_sound(client, link) for link in links[:10] for _ in range(2)]
    return [
        _result(SOUND_CACHED, cached, "whole track on this disk"),
        _result(SOUND_WARM, warm, "connected to the only provider, track never fetched"),
    ]


def _warm(bench: Bench, goal: Goal, links: list[str], name: str) -> Measurement:
    with _listener(bench, name) as listener, listener.client() as client:
        times = _play_all(client, links[:14])
    return _result(goal, times, f"{MBIT:g} Mbit/s and {2 * DELAY_MS:g} ms round trip by a shaping proxy")


def _play_all(client: httpx.Client, links: list[str]) -> list[float]:
    """Return times for tracks never fetched, after one that connected and brought the manifests."""
    _first_sound(client, links[0])
    times: list[float] = []
    for link in links[1:]:
        time.sleep(0.3)  # what is fetched ahead of the song before is done
        times.append(_first_sound(client, link))
    return times


def _cold(bench: Bench, goal: Goal, links: list[str], count: int, name: str) -> Measurement:
    times: list[float] = []
    for number in range(count):
        with _listener(bench, f"{name}{number}") as listener, listener.client() as client:
            client.get("/livez")
            times.append(_first_sound(client, links[number % len(links)]))
    return _result(goal, times, "a fresh node that knows only the link: dial, manifests, key, sound")


def _seek(bench: Bench, link: str) -> Measurement:
    chance = random.Random(7)
    with _listener(bench, "seek") as listener, listener.client() as client:
        session = _play(client, link)
        size, rate = session["bytes"], session["bitrate_bps"] / 8
        times: list[float] = []
        for _ in range(bench.count(15, least=5)):
            at = chance.randrange(size // 10, size - 2_000_000)
            started_s = time.perf_counter()
            _read(client, session["stream_url"], int(rate * SOUND_S), {"range": f"bytes={at}-"})
            times.append(1000 * (time.perf_counter() - started_s))
    return _result(SEEK, times, f"random places of a {size / 1e6:.0f} MB WAV file")


def _first_sound(client: httpx.Client, link: str) -> float:
    """Return milliseconds from the request to sound."""
    started_s = time.perf_counter()
    session = _play(client, link)
    needed = min(session["bytes"], HEAD_BYTES + int(session["bitrate_bps"] / 8 * SOUND_S))
    _read(client, session["stream_url"], needed, {})
    return 1000 * (time.perf_counter() - started_s)


def _play(client: httpx.Client, link: str) -> dict:
    reply = client.post("/api/v1/play", json={"target": link, "quality": "original"})
    reply.raise_for_status()
    data: dict = reply.json()["data"]
    return data


def _read(client: httpx.Client, url: str, count: int, headers: dict[str, str]) -> None:
    with client.stream("GET", url, headers=headers) as reply:
        reply.raise_for_status()
        got = 0
        for part in reply.iter_raw():
            got += len(part)
            if got >= count:
                return
    raise ValueError(f"the stream ended after {got} of {count} bytes")


def _result(goal: Goal, times: list[float], how: str) -> Measurement:
    text = f"{how}; {len(times)} plays, ms {spread(times)}, p95 {percentile(times, 0.95):.0f}"
    return Measurement(goal, statistics.median(times), text)


@contextmanager
def _listener(bench: Bench, name: str) -> Iterator[Daemon]:
    with daemons(bench.folder, name) as (listener,):
        listener.init()
        listener.start()
        time.sleep(1.0)  # the start's own work is over
        yield listener


@contextmanager
def _line(artist: Daemon) -> Iterator[int]:
    port = artist.address().split("/")[4]
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.bench.proxy", port, str(DELAY_MS), str(MBIT)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()


def _through(link: str, port: int) -> str:
    """Return the link with its provider reached through the slow line only."""
    parsed = parse_link(link)
    (provider,) = parsed.providers
    address = f"/ip4/127.0.0.1/tcp/{port}/p2p/{provider.peer}"
    slow = replace(provider, addresses=(address,)) if isinstance(provider, LinkProvider) else provider
    return make_link(parsed.release, [slow], track=parsed.track)


def _link(artist: Daemon, track: str) -> str:
    return str(artist.run("share", track)["link"])


def _publish(artist: Daemon, folder: Path) -> list[str]:
    return [track["id"] for track in artist.run("publish", str(folder))["tracks"]]


def _songs(folder: Path, count: int) -> Path:
    import immich_memories_music

    folder.mkdir()
    songs = sorted(Path(immich_memories_music.__file__).parent.rglob("*.opus"))[:count]
    for song in songs:
        (folder / f"{song.parent.name} {song.name}").write_bytes(song.read_bytes())
    return folder


def _long(folder: Path) -> Path:
    folder.mkdir()
    noise = random.Random(1).randbytes(44_100 * 4)
    with wave.open(str(folder / "Long Noise.wav"), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(44_100)
        for second in range(LONG_S):
            out.writeframes(noise[second % 1000 :] + noise[: second % 1000])
    return folder
