"""Chapter 8: a stock Kubo, told an address and a CID, keeps a release alive and hands it to a stranger."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tools.bench.child import ROOT, ChildError
from tools.bench.kubo import Kubo, library
from tools.demo.node import DemoError, Node

TRACKS = 3
_PIN_S = 60.0
Check = Callable[[bool, str], None]
Say = Callable[[str], None]


class Ipfs:
    """A musician with a node, a Kubo, and a listener who is connected to nobody else."""

    def __init__(
        self, *, root: Path, files: Sequence[Path], decoded: Callable[[str], str], check: Check, say: Say
    ) -> None:
        self._root = root
        self._files = sorted(files, key=lambda path: path.stat().st_size)[:TRACKS]
        self._decoded = decoded
        self._check = check
        self._say = say
        self._musician = Node("musician", root)
        self._listener = Node("ipfs-listener", root)
        self._kubo: Kubo | None = None
        self.nodes = [self._musician, self._listener]

    def set_up(self) -> None:
        """Start Kubo and the musician's node; the first time Kubo's library is fetched, 89 MB."""
        (self._root / "kubo").mkdir()
        try:
            self._kubo = Kubo(library(ROOT / "build"), self._root / "kubo" / "repo")
        except ChildError as err:
            raise DemoError(f"Kubo did not start: {err}") from err
        for node in self.nodes:
            node.init()
            node.start()

    def tell(self) -> None:
        """Pin, lose the musician, play."""
        assert self._kubo is not None
        music = self._root / "ipfs-music"
        music.mkdir()
        for file in self._files:
            shutil.copy(file, music)
        done = self._musician.run("publish", str(music), "--title", "Kept", "--artist", "The Demo")
        self._say(f"   ipfs pin add -r {done['cid']}")
        try:
            self._kubo.connect(self._musician.address())
            took_s = self._kubo.pin(done["cid"], timeout_s=_PIN_S)
        except ChildError as err:
            raise DemoError(f"Kubo did not get the release: {err}") from err
        size_mb = sum(path.stat().st_size for path in self._files) / 1e6
        self._say(f"   a stock Kubo pinned {len(self._files)} songs of {size_mb:.0f} MB in {took_s:.2f} s")
        self._musician.kill()
        shutil.rmtree(self._musician.home)
        self._check(not self._musician.home.exists(), "the musician's node and its disk are gone")
        address = self._kubo.addresses()[0]
        self._listener.run("peers", "connect", address)
        for track in done["tracks"]:
            self._play(done["cid"], track, address.rpartition("/")[2])

    def _play(self, release: str, track: dict[str, Any], kubo: str) -> None:
        self._listener.run("show", release)
        started_s = time.monotonic()
        session = self._listener.run("play", track["id"], "--quality", "original", "--url")
        with urlopen(session["url"], timeout=60) as reply:
            body = reply.read()
        took_s = time.monotonic() - started_s
        files = [each for each in self._files if each.read_bytes() == body]
        sound = bool(files) and self._decoded(session["url"]) == self._decoded(str(files[0]))
        facts = self._listener.api(f"/api/v1/player/sessions/{session['session']}")
        peers = {each["peer"] for each in facts["peers"]}
        self._check(
            sound and peers == {kubo}, f"{track['title']}: from Kubo alone in {took_s:.2f} s, the same PCM"
        )

    def stop(self) -> None:
        """End Kubo; the nodes are stopped with the others."""
        if self._kubo is not None:
            self._kubo.end()
            self._kubo = None
