"""A paid album of a real artist's node, and guardians on real hosts in this process.

The guardians check nothing but the message: what a listener's node does is tested with them, what a
guardian checks is tested elsewhere. ``publish_paid`` works on the home of a node that does not run.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from marina.clock import SystemClock
from marina.ids import parse_track, release_text, track_text
from marina.metrics import Registry
from marina.secret import Secret
from node.services import build_services
from node.settings_load import load_settings
from p2p.framing import FrameReader, pack
from p2p.stream import MarinaStream
from p2p.wire.key import FRAME_BYTES_MAX, PROTOCOL
from storage.content.keybox import parse_keybox
from storage.identity.owner import Owner
from storage.migrations import open_database
from storage.paths import Home
from storage.publish.models import PublishRequest
from storage.publish.paid import PaidRequest, PaidTerms
from tests.support.chains import DevChain
from tests.support.daemons import PASSPHRASE, Daemon, end
from tests.support.guardians import Guardian
from tests.support.peers import make_host, running

START_S = 20.0
TRACK_PRICE = 5 * 10**17
"""0.5 DEV."""


@dataclass
class GuardianHosts:
    """Guardians that run.

    Attributes:
        guardians: their kinds may be changed at any time.
        addresses: where each listens.
    """

    guardians: list[Guardian]
    addresses: list[str] = field(default_factory=list)


@contextlib.contextmanager
def guardian_hosts(*kinds: str, prefix: str = "guardian") -> Iterator[GuardianHosts]:
    """Run guardians of these kinds on loopback, in a thread of their own, while the block runs."""
    clock = SystemClock()
    party = GuardianHosts([Guardian(f"{prefix}{i}", clock, kind) for i, kind in enumerate(kinds)])
    ready, ends = threading.Event(), threading.Event()

    async def serve() -> None:
        hosts = [make_host(each.name) for each in party.guardians]
        for host, guardian in zip(hosts, party.guardians, strict=True):
            host.serve(PROTOCOL, partial(_answer, guardian), max_streams_per_peer=8)
        async with running(*hosts):
            party.addresses[:] = [host.listen_addrs[0] for host in hosts]
            ready.set()
            while not ends.is_set():
                await trio.sleep(0.05)

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    try:
        assert ready.wait(START_S), "the guardians did not start"
        yield party
    finally:
        ends.set()
        thread.join(START_S)


async def _answer(guardian: Guardian, stream: MarinaStream) -> None:
    reader = FrameReader(stream, header_bytes_max=FRAME_BYTES_MAX, frame_timeout_s=5)
    message = await reader.header(5)
    assert message is not None
    await stream.write(pack(await guardian.answer(message)))


@dataclass
class PaidAlbum:
    """What was published.

    Attributes:
        release: its id as text.
        tracks: their ids as text.
        anchors: (track, tier, sha256 of the keybox) as text.
    """

    release: str
    tracks: list[str]
    anchors: list[tuple[str, int, str]]


def publish_paid(
    artist: Daemon, folder: Path, party: GuardianHosts, chain: DevChain, *, k: int = 3, not_before: int = 0
) -> PaidAlbum:
    """Publish a folder on the home of a node that does not run; nothing of it is on the chain yet."""
    registry = bytes.fromhex(chain.contracts["TrackRegistry"].removeprefix("0x"))
    holders = tuple(each.holder for each in party.guardians)

    async def choose() -> PaidTerms:
        await trio.lowlevel.checkpoint()
        return PaidTerms(31337, registry, k, holders, (), not_before)

    request = PublishRequest(
        folder, title="Paid Album", terms="all-rights-reserved", paid=PaidRequest(31337, registry, choose)
    )
    return trio.run(_publish, artist.home, request)


async def _publish(path: Path, request: PublishRequest) -> PaidAlbum:
    home, clock = Home(path), SystemClock()
    owner = Owner.open(home.root, clock=clock)
    owner.unlock(Secret(PASSPHRASE))
    store = await open_database(home.meta, home.backups, clock=clock)
    services = build_services(
        home=home,
        settings=load_settings(home.root, environ={}).settings,
        clock=clock,
        registry=Registry(),
        store=store,
        owner=owner,
    )

    async def quiet(done: int, total: int, name: str) -> None:
        await trio.lowlevel.checkpoint()

    try:
        await services.blocks.open()
        async with trio.open_nursery() as nursery:
            await nursery.start(services.blocks.run)
            await nursery.start(services.index.run)
            await nursery.start(services.audio.run)
            done = await services.publisher.publish(request, quiet)
            found = await services.releases.fetch(done.signed.cid)
            await services.library.add(found, is_mine=True, is_local=True)
            anchors = []
            for _, track in done.tracks:
                for each in track.renditions:
                    if each.tier:
                        box = parse_keybox(await services.blocks.get(each.keybox))
                        anchors.append((track_text(track.track_id), each.tier, "0x" + box.cid[-32:].hex()))
            nursery.cancel_scope.cancel()
        await services.blocks.close()
    finally:
        await store.close()
    tracks = [track_text(track.track_id) for _, track in done.tracks]
    return PaidAlbum(release_text(done.signed.release.release_id), tracks, anchors)


def sell(artist: Daemon, album: PaidAlbum, *, price: str = "2DEV", track_price: str = "0.5DEV") -> None:
    """Register, price and anchor an album with the artist's running node."""
    artist.run("release", "register", album.release, "--price", price, "--track-price", track_price, "--yes")
    anchor(artist, album.anchors)


def anchor(artist: Daemon, anchors: list[tuple[str, int, str]], *, epoch: int = 1, finality: int = 0) -> None:
    """Anchor keyboxes on the chain, all at once."""
    rows = [
        ["0x" + parse_track(track).hex(), str(tier), digest, str(epoch), str(finality)]
        for track, tier, digest in anchors
    ]
    artist.run("chain", "send", "registry", "anchorKeyboxes", json.dumps(rows), "--yes")


def introduce(artist: Daemon, album: PaidAlbum, party: GuardianHosts, *nodes: Daemon) -> None:
    """Let nodes know the album and the guardians."""
    link = artist.run("share", album.release)["link"]
    for node in nodes:
        with node.client() as client:
            client.post("/api/v1/show", json={"target": link}).raise_for_status()
            for address in (artist.address(), *party.addresses):
                client.post("/api/v1/peers/connect", json={"address": address}).raise_for_status()


def wait_until(check: object, *, timeout_s: float = 20.0, every_s: float = 0.1) -> object:
    """Return the first true answer of a function."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        found = check()  # type: ignore[operator]
        if found:
            return found
        assert time.monotonic() < deadline_s, "it did not come to be so in time"
        time.sleep(every_s)


def buy_and_kill(node: Daemon, track: str, moments_s: Sequence[float]) -> None:
    """Buy as often as there are moments, and end the node at each of them; then buy to the end."""
    for moment_s in moments_s:
        buying = node.spawn("buy", track, "--yes", secret=None)
        time.sleep(moment_s)
        node.kill()
        end(buying)
        node.start()
    last = node.try_run("buy", track, "--yes")
    assert last.code == 0 or "no end already" in last.error, last


def check_bought_once(chain: DevChain, node: Daemon, track: str, before: int) -> None:
    """Check that one licence was paid, and wait for a key that nobody played for."""
    (key,) = wait_until(lambda: node.run("why", track)["keys"], timeout_s=30)  # type: ignore[misc]
    assert key["guardians"]
    (paid,) = node.run("why", track)["payments"]
    assert int(paid["units"]) == TRACK_PRICE
    balance = int(chain.rpc("eth_getBalance", node.run("id")["account"], "latest"), 16)
    fees = before - balance - TRACK_PRICE
    assert 0 < fees < TRACK_PRICE // 10, "the price once, and the fees of at most a few transactions"
    licences = node.run("licence")["items"]
    assert [each["live"] for each in licences] == [True]


def buyer(chain: DevChain, artist: Daemon, album: PaidAlbum, party: GuardianHosts, node: Daemon) -> int:
    """Make a node that knows the album; return what its account holds."""
    node.init(chain__profile="dev", chain__endpoints=chain.url)
    node.start()
    account = node.run("id")["account"]
    chain.fund(account)
    introduce(artist, album, party, node)
    return int(chain.rpc("eth_getBalance", account, "latest"), 16)
