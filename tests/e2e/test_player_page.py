"""The player page in a real Chromium, against the real guard, router and server.

The music and the swarm behind the routes are small and local: a few Opus files, served with ranges, and
a session whose segments arrive from two peers. What is tested is the page and the interface it uses.
"""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio
from starlette.responses import FileResponse

from marina.clock import SystemClock
from marina.errors import NotFoundError
from marina.metrics import Registry
from marina.secret import Secret
from node.api.app import build_app
from node.api.limits import ApiLimits
from node.api.metrics import ApiMetrics
from node.api.reply import Reply
from node.api.router import ApiContext, Open, Router, route
from node.api.routes_health import HealthRoutes
from node.api.routes_page import PageRoutes
from node.api.routes_session import SessionRoutes
from node.api.scopes import PLAYER_SCOPES, Scope
from node.api.server import ApiServer
from node.api.sessions import OneTimeCodes, Sessions
from node.api.tokens import TokenAuthority
from node.health import CheckResult, Health, HealthMonitor
from node.settings import ApiSettings
from storage.kv import MemoryKv
from tests.support.browser import AUDIO, PIXELS, SHOTS, Browser, in_browser, needs_chromium

pytestmark = needs_chromium
PEERS = ("12D3KooWAdaAdaAdaAdaAdaAdaAdaAda1", "12D3KooWBobBobBobBobBobBobBobBob2")
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@dataclass
class Sample:
    """One track of the sample node."""

    id: str
    title: str
    artist: str
    path: Path
    duration_ms: int


@dataclass
class SampleNode:
    """Feature routes as docs/api.md describes them, over files of this disk."""

    tracks: list[Sample]
    played: list[dict[str, object]] = field(default_factory=list)
    opened_s: float = 0.0
    is_broken: bool = False

    @route("GET", "/api/v1/search", scope=Scope.READ_MUSIC)
    async def search(self, ctx: ApiContext) -> Reply:
        words = ctx.query.text("q", "").lower().split()
        found = [
            each for each in self.tracks if all(w in f"{each.title} {each.artist}".lower() for w in words)
        ]
        items = [self._item(n, each) for n, each in enumerate(found, 1)]
        sources = {"local": len(items), "swarm": 0, "swarm_ms": 84, "peers": 3}
        return Reply.ok({"items": items, "sources": sources, "took_ms": 3, "hint": "Try another spelling."})

    def _item(self, n: int, track: Sample) -> dict[str, object]:
        return {
            "n": n,
            "id": track.id,
            "title": track.title,
            "artist": track.artist,
            "duration_ms": track.duration_ms,
            "licence": "CC-BY-4.0",
            "seeders": n,
            "where": "swarm",
        }

    @route("POST", "/api/v1/play", scope=Scope.READ_MUSIC)
    async def play(self, ctx: ApiContext) -> Reply:
        target = ctx.body.text("target")
        quality = ctx.body.choice("quality", ("auto", "low", "high", "original", "preview"), "auto")
        for track in self.tracks:
            if track.id == target:
                break
        else:
            raise NotFoundError(f"no track {target}: look it up with 'marina find'")
        self.played.append({"id": target, "quality": quality})
        self.opened_s = trio.current_time()
        return Reply.created({**self._facts(track), "stream_url": f"/api/v1/stream/ticket-{track.id}"})

    @route("GET", "/api/v1/player/sessions/{id}", scope=Scope.READ_MUSIC)
    async def session(self, ctx: ApiContext) -> Reply:
        return Reply.ok(self._facts(next(each for each in self.tracks if each.id == ctx.params["id"])))

    def _facts(self, track: Sample) -> dict[str, object]:
        here = min(1.0, 0.3 + (trio.current_time() - self.opened_s) / 4)
        cuts = [here * i / 5 for i in range(6)]
        owners = ["local", PEERS[0], PEERS[1], PEERS[0], PEERS[1]]
        segments = [{"from": cuts[i], "to": cuts[i + 1], "peer": owner} for i, owner in enumerate(owners)]
        return {
            "session": track.id,
            "duration_ms": track.duration_ms,
            "peaks": [40 + (i * i * 7 + i * 31) % 180 for i in range(400)],
            "segments": segments,
            "peers": [{"peer": PEERS[0], "bytes": 2_400_000}, {"peer": PEERS[1], "bytes": 1_100_000}],
            "bytes_fetched": 3_500_000,
            "bytes_per_s": 8_200_000,
            "first_sound_ms": 84.2,
            "complete": here == 1.0,
        }

    @route("GET", "/api/v1/stream/{ticket}", scope=Open.TICKET)
    async def stream(self, ctx: ApiContext) -> Reply:
        if self.is_broken:
            raise NotFoundError("nobody has this track any more")
        wanted = ctx.params["ticket"].removeprefix("ticket-")
        track = next(each for each in self.tracks if each.id == wanted)
        return Reply.asgi(FileResponse(track.path, media_type="audio/ogg"))

    @route("GET", "/api/v1/status", scope=Scope.READ_MUSIC)
    async def status(self, ctx: ApiContext) -> Reply:
        return Reply.ok(
            {
                "peer": PEERS[0],
                "uptime_s": 7320,
                "version": "0.1.0",
                "health": "degraded",
                "locked": False,
                "swarm": {
                    "peers": 4,
                    "bytes_in": 48_300_000,
                    "bytes_out": 1_200_000_000,
                    "hint": "No inbound connections: open TCP port 4001.",
                },
                "storage": {"bytes_used": 3_400_000_000, "bytes_quota": 20_000_000_000},
                "library": {"tracks": 12, "releases": 2},
                "provide": {"text": "all announced"},
            }
        )


def sample_tracks() -> list[Sample]:
    import immich_memories_music
    from tinytag import TinyTag

    folder = Path(immich_memories_music.__file__).parent / "tracks"
    paths = sorted(folder.rglob("*.opus"))[:9]
    titles = ["Glass Harbour", "Night Drive", HOSTILE, "Ω — señor ñandú 音楽 " + "very long title " * 12]
    tracks = []
    for i, path in enumerate(paths):
        title = titles[i] if i < len(titles) else path.stem.replace("_", " ").title()
        length_s = TinyTag.get(path).duration or 0
        tracks.append(
            Sample(
                f"tr_{i:052}", title, ["Ada", "Bob & The Buoys", "Carol"][i % 3], path, int(length_s * 1000)
            )
        )
    return tracks


@asynccontextmanager
async def serving(node: SampleNode):
    clock, store, registry = SystemClock(), MemoryKv(), Registry()
    tokens = TokenAuthority(key=Secret(os.urandom(32)), node_id=PEERS[0], store=store, clock=clock)
    await tokens.load()
    codes = OneTimeCodes(clock=clock)
    health = HealthMonitor(clock=clock)
    for name in ("database", "cache"):
        health.register(name, _result(Health.HEALTHY, "answers in 1 ms"))
    health.register("swarm", _result(Health.DEGRADED, "4 peers, none of them dialled in"))
    router = Router()
    sessions = Sessions(tokens=tokens, codes=codes)
    router.include(
        node,
        PageRoutes(),
        HealthRoutes(health=health, registry=registry),
        SessionRoutes(tokens=tokens, codes=codes, sessions=sessions),
    )
    metrics, limits = ApiMetrics(registry), ApiLimits()

    def make_app(policy):
        return build_app(
            router=router, tokens=tokens, policy=policy, clock=clock, metrics=metrics, limits=limits
        )

    server = ApiServer(make_app=make_app, settings=ApiSettings(port=0), limits=limits)
    async with trio.open_nursery() as nursery:
        address = await nursery.start(server.run)
        yield lambda: f"{address.url}/#code={codes.issue(PLAYER_SCOPES)}", address.url
        nursery.cancel_scope.cancel()


def _result(state: Health, sentence: str):
    async def check() -> CheckResult:
        return CheckResult(state, sentence)

    return check


async def test_a_person_opens_the_link_finds_a_track_and_hears_it(tmp_path):
    node = SampleNode(sample_tracks())

    def visit(browser: Browser) -> None:
        browser.driver.get(link())
        browser.until("document.querySelectorAll('#results li').length === 9")
        assert browser.js("location.href") == f"{url}/", "the code must leave the address bar"
        browser.until("document.querySelector('#node').textContent.includes('4 peers')")
        # What peers wrote is text, never markup.
        titles = browser.js("[...document.querySelectorAll('#results strong')].map(e => e.textContent)")
        assert HOSTILE in titles
        assert browser.js("document.querySelectorAll('#results img, #results script').length") == 0

        browser.press("/")
        browser.press("glass harb")
        browser.until("document.querySelectorAll('#results li').length === 1")
        browser.shot("found")
        browser.click("#results button")
        browser.until("document.getElementById('audio').currentTime > 1.2", 20)
        assert browser.until(PIXELS) == "cold warm", "two peers served, so two colours show"
        assert browser.js("document.getElementById('audio').error") is None
        assert "first sound 84 ms" in browser.text("#speed")
        browser.until("document.querySelectorAll('#peers li').length === 3")
        assert browser.text("#title") == "Glass Harbour"

        browser.press("k")
        browser.until("document.getElementById('audio').paused")
        before = browser.js("document.getElementById('audio').currentTime")
        browser.js("document.activeElement.blur()")
        browser.press("\ue014")  # arrow right
        browser.until(f"document.getElementById('audio').currentTime > {before} + 4")
        browser.click("#wave")  # its middle
        browser.until(f"Math.abs({AUDIO}.currentTime / {AUDIO}.duration - .5) < .02")
        browser.press("k")
        browser.until("!document.getElementById('audio').paused")

        browser.driver.execute_script(
            "const q = document.getElementById('quality');"
            "q.value = 'original'; q.dispatchEvent(new Event('change'))"
        )
        browser.until(
            "document.getElementById('audio').currentTime > 10 && !document.getElementById('audio').paused"
        )
        browser.click("#node")
        browser.until("document.querySelectorAll('#health li').length === 5")
        browser.driver.execute_script(
            "const q = document.getElementById('query'); q.value = ''; q.dispatchEvent(new Event('input'))"
        )
        browser.until("document.querySelectorAll('#results li').length === 9")
        time.sleep(0.6)
        browser.shot("playing")
        browser.click("#next")
        browser.until("document.getElementById('title').textContent === 'Night Drive'")
        browser.until(f"{AUDIO}.currentTime > 0.5 && {AUDIO}.currentTime < 9")

        browser.driver.refresh()
        browser.until("document.querySelectorAll('#results li').length === 9")
        assert browser.js("document.title") == "Marina"
        assert not [
            line for line in browser.log() if "Content Security Policy" in line or "TypeError" in line
        ]
        if SHOTS:
            take_more(browser)

    async with serving(node) as (link, url):
        await in_browser(tmp_path, visit)
    assert [each["quality"] for each in node.played][:3] == ["auto", "original", "original"]


def take_more(browser: Browser) -> None:
    """Pictures for the eye: dark, and as narrow as a phone."""
    browser.click("#results li:nth-child(3) button")
    browser.until("document.getElementById('audio').currentTime > 1", 20)
    browser.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    time.sleep(0.5)
    browser.shot("dark")
    metrics = {"width": 390, "height": 780, "deviceScaleFactor": 2, "mobile": True}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    time.sleep(0.8)
    browser.shot("phone")


async def test_the_page_says_what_to_do_without_a_link_and_when_sound_breaks_off(tmp_path):
    node = SampleNode(sample_tracks())

    def visit(browser: Browser) -> None:
        browser.driver.get(url)
        browser.until("document.getElementById('notice').textContent.includes('marina up')")
        browser.shot("nolink")
        used = link()
        browser.driver.get(used)
        browser.until("document.querySelectorAll('#results li').length === 9")
        browser.driver.execute_script("sessionStorage.clear()")
        browser.driver.get("about:blank")
        browser.driver.get(used)
        browser.until("document.getElementById('notice').textContent.includes('used already')")
        browser.driver.get("about:blank")
        browser.driver.get(link())
        browser.until("document.querySelectorAll('#results li').length === 9")
        node.is_broken = True
        browser.click("#results button")
        browser.until("document.getElementById('notice').textContent.includes('no peer that has this track')")

    async with serving(node) as (link, url):
        await in_browser(tmp_path, visit)
