"""A person's browser on a listener's real node plays what an artist's real node published."""

from __future__ import annotations

from tests.support.browser import AUDIO, Browser, in_browser, needs_chromium
from tests.support.daemons import daemons, music

pytestmark = needs_chromium


async def test_chromium_plays_a_song_from_another_node(tmp_path):
    music(tmp_path / "album", "Night Drive", "Harbour Lights")
    with daemons(tmp_path, "artist", "listener") as (artist, listener):
        for node in (artist, listener):
            node.init()
            node.start()
        release = artist.run("publish", str(tmp_path / "album"))["release"]
        link = artist.run("share", release)["link"]
        listener.run("peers", "connect", link)
        player = listener.run("up")["link"]

        def visit(browser: Browser) -> None:
            browser.driver.get(player)
            browser.until("document.getElementById('query')")
            browser.click("#query")
            browser.press("harbuor ligths")
            browser.until(
                "[...document.querySelectorAll('#results li')].some(e => /Harbour/.test(e.textContent))"
            )
            browser.click("#results li button")
            browser.until(f"{AUDIO}.currentTime > 1.5", timeout_s=20)
            browser.until("/first sound/.test(document.getElementById('speed').textContent)")
            assert artist.facts()["peer"][-6:] in browser.text("#peers")
            browser.js(f"{AUDIO}.currentTime = 20")
            browser.until(f"{AUDIO}.currentTime > 21 && !{AUDIO}.error", timeout_s=20)
            browser.shot("real-node")
            assert not [line for line in browser.log() if "Content Security Policy" in line]

        await in_browser(tmp_path, visit)
