"""A sealed song, providers in memory that behave as their kind says, and an address that serves it."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from contextlib import asynccontextmanager
from functools import partial

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.routing import Route

from marina.errors import LicenceNeededError, NetworkError
from marina.ids import Account, PeerId, ReleaseId, derive_track_id
from marina.secret import Secret
from storage.blocks.memory import MemoryBlockStore
from storage.content.keys import key_commitment
from storage.content.layout import SegmentPlan
from storage.content.segments import CipherRun, SegmentOpener, SegmentSealer
from storage.content.track import Rendition, TrackManifest
from storage.content.unixfs import rendition_file
from streaming.fetcher import RenditionFetcher
from streaming.http import stream_response
from streaming.providers import Delivery, Outcome
from streaming.session import PlaySession

KEY = Secret(b"k" * 32)
ACCOUNT = Account(b"a" * 20)
TRACK = derive_track_id(ACCOUNT, b"s" * 32)


class Sealed:
    """One plaintext, sealed, as a publisher would hold it."""

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        plan = SegmentPlan(len(plain))
        self.run = CipherRun(TRACK, 2, 0, 1, os.urandom(32))
        sealer = SegmentSealer(self.run, KEY, plan.count)
        self.segments = [
            sealer.seal(i, plain[plan.plaintext(i).start : plan.plaintext(i).end]) for i in range(plan.count)
        ]
        digests = b"".join(hashlib.sha256(part).digest() for part in self.segments)
        self.layout, _ = rendition_file(len(plain), digests)
        self.kc = key_commitment(KEY, self.run.key_name)

    def manifest(self, mime: str = "audio/ogg") -> TrackManifest:
        rendition = Rendition(
            self.layout, self.run, "opus", mime, 160_000, 48_000, 2, 30_000, self.kc, self.layout.root
        )
        return TrackManifest(
            ACCOUNT, b"s" * 32, ReleaseId(bytes(32)), "Song", "Ada", "", "", 0, 0, 0, (), (), "", 30_000,
            None, b"", None, (rendition,), "CC0-1.0", 1,
        )  # fmt: skip

    def session(self, fetcher: RenditionFetcher, mime: str = "audio/ogg") -> PlaySession:
        track = self.manifest(mime)
        opener = SegmentOpener(self.run, KEY, self.kc, self.layout.plan.count)
        return PlaySession(
            session_id=bytes(16), track=track, rendition=track.renditions[0], opener=opener, fetcher=fetcher
        )


class Twin:
    """A provider: honest, empty, or one that lies, stalls, is busy, denies, or dies.

    Attributes:
        has: segments it has; None for all.
        sessions: how often it was connected to.
        sent: segments that it sent.
        asked: every index it was asked for.
    """

    def __init__(self, name, sealed, kind="honest", *, dies_after=10**9, delay_s=0.0, has=None):
        self.peer = PeerId(name)
        self.sealed, self.kind, self.dies_after, self.delay_s, self.has = (
            sealed,
            kind,
            dies_after,
            delay_s,
            has,
        )
        self.sessions = self.sent = self.corrupt = 0
        self.asked: list[int] = []

    @asynccontextmanager
    async def session(self, layout):
        assert layout.root == self.sealed.layout.root
        self.sessions += 1
        await trio.sleep(self.delay_s)
        if self.sent >= self.dies_after:
            raise NetworkError("gone")
        yield TwinSession(self)

    def report_corrupt(self):
        self.corrupt += 1


class TwinSession:
    def __init__(self, twin):
        self.twin, self.queue = twin, deque()
        self.received_bytes = 0

    @property
    def outstanding(self):
        return len(self.queue)

    async def want(self, indices):
        self.queue.extend(indices)
        self.twin.asked.extend(indices)

    async def next(self):
        twin, index = self.twin, self.queue.popleft()
        if twin.kind == "stall":
            await trio.sleep_forever()
        await trio.sleep(twin.delay_s)
        if twin.sent >= twin.dies_after:
            raise NetworkError("gone")
        refusal = {"empty": Outcome.MISSING, "busy": Outcome.BUSY, "denies": Outcome.DENIED}.get(twin.kind)
        if refusal is None and twin.has is not None and index not in twin.has:
            refusal = Outcome.MISSING
        if refusal is not None:
            return Delivery(index, refusal, None)
        twin.sent += 1
        data = twin.sealed.segments[index]
        self.received_bytes += len(data)
        return Delivery(index, Outcome.OK, bytes(len(data)) if twin.kind == "lie" else data)


class Source:
    """Names the twins, each time it is asked; counts how often that is."""

    def __init__(self, *twins):
        self.twins = list(twins)
        self.looks = 0

    async def providers(self, root):
        self.looks += 1
        for twin in self.twins:
            yield twin


class NoKeys:
    """Keys of a node that holds no licence."""

    look_every_s = 1.0

    async def lease(self, track, rendition, *, is_offline=False):
        raise LicenceNeededError("no licence")

    async def look_again(self, leases):
        return [None for _ in leases]


@asynccontextmanager
async def unwatched(fetcher):
    """Count nothing."""
    yield


def fetcher_of(sealed, source, *, blocks=None, **options):
    store = MemoryBlockStore(1 << 30) if blocks is None else blocks
    return RenditionFetcher(layout=sealed.layout, blocks=store, source=source, **options)


async def filled_store(sealed):
    """A store that holds the whole song."""
    blocks = MemoryBlockStore(1 << 30)
    await blocks.declare(sealed.layout)
    await blocks.put_segments(sealed.layout.root, list(enumerate(sealed.segments)))
    return blocks


async def whole(session) -> bytes:
    """The song as a reader gets it."""
    body = b""
    with session.reading(0) as reader:
        while len(body) < session.size_bytes:
            body += await reader.read(len(body), session.size_bytes)
    return body


@asynccontextmanager
async def served(session):
    """Serve a session's sound over HTTP on loopback; yields its address."""

    async def endpoint(request):
        return stream_response(session, request)

    app = Starlette(routes=[Route("/song", endpoint, methods=["GET", "HEAD"])])
    config = Config()
    config.bind = ["127.0.0.1:0"]
    async with trio.open_nursery() as nursery:
        stop = trio.Event()
        (address,) = await nursery.start(partial(serve, app, config, shutdown_trigger=stop.wait, mode="asgi"))
        yield f"{address}/song"
        stop.set()


@asynccontextmanager
async def connected(url, *, headers=""):
    """Ask for a song as a player does that will hang up; yields the connection."""
    place, _, path = url.removeprefix("http://").partition("/")
    host, port = place.split(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(f"GET /{path} HTTP/1.1\r\nHost: {place}\r\n{headers}\r\n".encode())
        yield stream


async def first_bytes(stream, count=1024):
    """Read the head of an answer and so many bytes of its body."""
    data = b""
    while b"\r\n\r\n" not in data or len(data.split(b"\r\n\r\n", 1)[1]) < count:
        part = await stream.receive_some(65536)
        assert part, "the server hung up"
        data += part
    return data.split(b"\r\n\r\n", 1)[1][:count]
