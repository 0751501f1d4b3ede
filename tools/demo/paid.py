"""Chapters 6 and 7: an album is sold with guarded keys, and bought while its artist sleeps."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tools.demo.chain import DAY_S, DemoChain
from tools.demo.node import DemoError, Node

GUARDIANS, THRESHOLD = 7, 3
TITLE = "Sold"
PRICE_COINS = 3
TRACKS = 2
SOUND_S_MAX = 2.0
_AT_ONCE = 3
Check = Callable[[bool, str], None]
Say = Callable[[str], None]


class Paid:
    """Seven guardians, an album with a price, a listener who never met its artist, one without a licence."""

    def __init__(
        self,
        *,
        root: Path,
        chain: DemoChain,
        artist: Node,
        operators: Sequence[Node],
        files: dict[str, Path],
        decoded: Callable[[str], str],
        check: Check,
        say: Say,
    ) -> None:
        self._root = root
        self._chain = chain
        self._artist = artist
        self._operators = operators
        more = GUARDIANS - len(operators)
        self._others = [Node(f"guardian{number}", root) for number in range(1, more + 1)]
        self._guardians = [*operators, *self._others]
        self._listener = Node("newcomer", root)
        self._stranger = Node("stranger", root)
        self._liar: subprocess.Popen[bytes] | None = None
        self._files = sorted(files.values(), key=lambda path: path.stat().st_size)[:TRACKS]
        self._decoded = decoded
        self._check = check
        self._say = say
        self.nodes = [*self._others, self._listener, self._stranger]
        self._release = ""
        self._tracks: list[dict[str, Any]] = []

    def set_up(self) -> None:
        """Start who was not needed before, and the operators without the caps of chapter 4."""
        taken = self._others[-1]
        self._port = _free_port()

        def start(node: Node) -> None:
            if node in self._operators:
                node.stop()
                node.configure(**{"swarm.upload_cap": "off"})
            else:
                node.init(**{"chain.profile": "dev", "chain.endpoints": self._chain.url})
                bootstrap = ",".join(each.address() for each in self._operators)
                listen = {"swarm.listen": f"/ip4/127.0.0.1/tcp/{self._port}"} if node is taken else {}
                node.configure(**{"swarm.bootstrap": bootstrap}, **listen)
            node.start()

        self._side_by_side(start, self._operators)
        for operator in self._operators:
            self._artist.run("peers", "connect", operator.address())
        self._side_by_side(start, self.nodes)

    def sell(self) -> None:
        """Chapter 6: guardians enlist, and one command publishes, registers, prices and anchors."""
        self._side_by_side(self._enlist, self._guardians)
        for node in self._others:
            self._artist.run("peers", "connect", node.address())
        listed = self._artist.run("guardian", "list")["items"]
        self._check(
            len(listed) == GUARDIANS, f"{len(listed)} guardians stand in the registry, each with a bond"
        )
        folder = self._root / "to-be-sold"
        folder.mkdir()
        for path in self._files:
            shutil.copy(path, folder / path.name)
        done = self._artist.run(
            "publish", str(folder), "--title", TITLE, "--price", f"{PRICE_COINS}DEV", "--period", "30d",
            "--kind", "download", "--guardians", str(GUARDIANS), "--threshold", str(THRESHOLD),
            "--split", "mixer=10%", "--replicas", str(len(self._operators)), "--yes",
        )  # fmt: skip
        self._release, self._tracks = done["release"], done["tracks"]
        settled = all(each["status"] in ("mined", "confirmed") for each in done["transactions"])
        self._check(
            settled and len(done["sale"]["guardians"]) == GUARDIANS,
            f"{len(self._tracks)} tracks are on sale for {PRICE_COINS} DEV: keys in {GUARDIANS} parts, any "
            f"{THRESHOLD} open them, {len(done['transactions'])} transactions",
        )
        link = self._artist.run("share", self._release)["link"]
        for operator in self._operators:
            operator.run("join", link)
        deadline = time.monotonic() + 45
        while not (status := self._artist.run("release", "status", self._release))["safe_to_close"]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)
        self._check(status["safe_to_close"], "its ciphertext is with the operators: safe to close")

    def buy(self) -> None:
        """Chapter 7: the artist is gone with its home; the listener hears, buys, and hears all of it."""
        self._artist.kill()
        self._artist.home.rename(self._root / "the artist's home, moved away")
        liar = self._take_over(self._others[-1])
        self._meet()
        track = self._tracks[0]
        found = self._listener.run("find", track["title"], "--limit", "100")["items"]
        self._check(track["id"] in [each["id"] for each in found], f"the newcomer finds {track['title']!r}")
        preview = self._listener.run("play", track["id"], "--preview", "--url")
        self._check(bool(self._decoded(preview["url"])), "and hears its free preview at once")
        self._look(liar)
        self._stranger.run("find", track["title"], "--limit", "100")
        code = self._stranger.attempt("play", track["id"], "--url")
        keys = self._stranger.run("why", track["id"])["keys"]
        self._check((code, keys) == (6, []), "who has no licence gets exit code 6, no key and no sound")
        self._listener.run("faucet")
        bought = self._listener.run("buy", self._release, "--yes")
        started = time.monotonic()
        session = self._listener.post("/api/v1/play", {"target": track["id"], "quality": "original"})
        with urlopen(self._listener.facts()["url"] + session["stream_url"], timeout=30) as reply:
            head = reply.read(65536)
            sound_s = time.monotonic() - started
            body = head + reply.read()
        self._check(
            all(each["status"] == "confirmed" for each in bought["transactions"]) and sound_s < SOUND_S_MAX,
            f"bought; from the confirmed purchase to the first sound {sound_s * 1000:.0f} ms",
        )
        self._check(body == self._file_of(track["id"]).read_bytes(), "every byte is the artist's")
        self._explain(track["id"], liar)
        self._expire(track["id"])

    def stop(self) -> None:
        """End what this chapter alone started."""
        if self._liar is not None and self._liar.poll() is None:
            self._liar.kill()
            self._liar.wait(timeout=10)

    @property
    def processes(self) -> dict[str, subprocess.Popen[bytes] | None]:
        """What must be gone in the end."""
        return {node.name: node.process for node in self.nodes} | {"liar": self._liar}

    def _enlist(self, node: Node) -> None:
        node.run("faucet")
        account = node.run("id")["account"]
        self._artist.run("wallet", "send", account, "150MMT", "--account", "treasurer", "--yes")
        node.run("guardian", "enable", "--yes")

    def _take_over(self, node: Node) -> str:
        """Put a liar in the place of a guardian and return its peer id."""
        peer = str(node.facts()["peer"])
        node.stop()
        self._liar = subprocess.Popen(
            [sys.executable, "-m", "tools.demo.liar", str(node.home), str(self._port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        assert self._liar.stdout is not None
        if self._liar.stdout.readline().strip() != b"ready":
            raise DemoError("the lying guardian did not start")
        return peer

    def _meet(self) -> None:
        """Wait until the newcomer and the stranger are connected to somebody."""
        for node in (self._listener, self._stranger):
            deadline = time.monotonic() + 20
            while not node.run("peers")["items"]:
                if time.monotonic() > deadline:
                    raise DemoError(f"{node.name} met nobody")
                time.sleep(0.3)

    def _look(self, liar: str) -> None:
        terms = self._listener.run("terms", self._release)
        quorum = terms["assurance"]["quorum"]
        self._say(
            f"   {terms['items'][0]['price']} for {terms['items'][0]['span']}, "
            f"{'/'.join(str(each['percent']) for each in terms['splits'])} shared; "
            f"{quorum['ready']} of {quorum['of']} guardians ready, {quorum['needed']} needed"
        )
        named = [each["guardian"] for each in quorum["problems"]]
        self._check(
            terms["assurance"]["available"] and quorum["enough"] and named == [liar],
            "price, splits, availability and quorum are shown before money moves; the guardian that answers "
            "with garbage is named",
        )

    def _explain(self, track: str, liar: str) -> None:
        why = self._listener.run("why", track)
        (key,) = (each for each in why["keys"] if each["tier"] == "original")
        faults = {each["guardian"] for each in why["faults"]}
        honest = len(key["guardians"]) == THRESHOLD and liar not in key["guardians"]
        sums = all(
            each["bytes"] == sum(peer["bytes"] for peer in each["peers"]) for each in why["renditions"]
        )
        self._check(
            honest and sums and faults <= {liar} and why["payments"],
            f"marina why: {why['bytes'] / 1e6:.1f} MB, key from {THRESHOLD} guardians, "
            f"{why['payments'][0]['amount']} paid" + (", a false share proven" if faults else ""),
        )

    def _expire(self, track: str) -> None:
        listener = self._listener
        self._chain.pass_time(31 * DAY_S)
        code = listener.attempt("play", track, "--url")
        self._check(code == 6, "after 30 days it plays no more")
        listener.run("faucet")
        listener.run("renew", self._release, "--yes")
        session = listener.run("play", track, "--quality", "original", "--url")
        again = self._decoded(session["url"])
        bought = [each["what"] for each in listener.run("tx", "list", "--what", "licence")["items"]]
        self._check(
            again == self._decoded(str(self._file_of(track)))
            and sorted(bought) == ["licence.buy", "licence.renew"],
            "renewed, it plays on: paid once for each month, with the key that was here",
        )

    def _file_of(self, track: str) -> Path:
        number = [each["id"] for each in self._tracks].index(track)
        return sorted(self._files, key=lambda path: path.name)[number]

    @staticmethod
    def _side_by_side(work: Callable[[Node], None], nodes: Iterable[Node]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for done in [pool.submit(work, node) for node in nodes]:
                done.result()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
