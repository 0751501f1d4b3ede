"""A real headless Chromium, for the tests of the player page."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

needs_chromium = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")) and os.environ.get("CI") != "true",
    reason="Chromium and chromedriver are not installed",
)
AUDIO = "document.getElementById('audio')"
SHOTS = os.environ.get("MARINA_SCREENSHOTS")
"""Folder for pictures of the page; none are taken without it."""


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    flags = [
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "disable-dev-shm-usage",
        "mute-audio",
        "window-size=1280,820",
        f"user-data-dir={profile}",
    ]
    for flag in flags:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


class Browser:
    """The few things a test does with a browser."""

    def __init__(self, driver) -> None:
        self.driver = driver

    def js(self, script: str) -> object:
        return self.driver.execute_script(f"return ({script})")

    def until(self, script: str, timeout_s: float = 10) -> object:
        """Return the first truthy value of a script."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            value = self.js(script)
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}; page says {self.text('#notice')!r}, log {self.log()}")

    def text(self, selector: str) -> str:
        return str(self.js(f"document.querySelector({selector!r}).textContent"))

    def click(self, selector: str) -> None:
        from selenium.webdriver.common.by import By

        self.driver.find_element(By.CSS_SELECTOR, selector).click()

    def press(self, keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(keys).perform()

    def log(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def shot(self, name: str) -> None:
        if SHOTS:
            self.driver.save_screenshot(str(Path(SHOTS) / f"{name}.png"))


PIXELS = """(() => {
  const canvas = document.getElementById('wave');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const seen = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 100) {
    const [r, g, b] = [data[i], data[i + 1], data[i + 2]];
    if (Math.max(r, g, b) - Math.min(r, g, b) > 60) seen.add(r > b ? 'warm' : 'cold');
  }
  return [...seen].sort().join(' ');
})()"""
"""Which families of colours the waveform shows now: warm and cold are two peers."""


async def in_browser(tmp_path: Path, visit: Callable[[Browser], None]) -> None:
    def run() -> None:
        with browsing(tmp_path / "profile") as browser:
            visit(browser)

    await trio.to_thread.run_sync(run)
