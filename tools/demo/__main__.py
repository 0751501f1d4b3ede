"""make demo: a whole swarm on this machine, from publishing to losing peers, voting, and music for money.

Starts real ``marina`` daemons in temporary homes on loopback: an artist, three operators, a listener.
Everything goes through the command line and HTTP, as a user would; the decoder is libav, not ours.
Exit 0 only if every chapter held.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tools.demo.chain import DemoChain
from tools.demo.ipfs import Ipfs
from tools.demo.market import Market
from tools.demo.node import CHAPTER_S, DemoError, Node
from tools.demo.paid import Paid
from tools.demo.player import Player

REST_S = 20.0
"""A capped rest of a track that takes longer is not waited for: the chapter has its limit."""
OPERATORS = 3
SUFFIXES = {".opus", ".ogg", ".oga", ".mp3", ".flac", ".m4a", ".wav", ".aac"}
DECODE = """
import sys, hashlib, av
digest = hashlib.sha256()
with av.open(sys.argv[1]) as source:
    resampler = av.AudioResampler(format="s16", layout="stereo", rate=48000)
    for frame in source.decode(audio=0):
        for part in resampler.resample(frame):
            digest.update(bytes(part.planes[0])[: part.samples * 4])
print(digest.hexdigest())
"""


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def check(holds: bool, promise: str) -> None:
    """Print the promise and whether it held; raise if not."""
    say(f"   {'✓' if holds else '✗'} {promise}")
    if not holds:
        raise DemoError(promise)


@contextlib.contextmanager
def chapter(title: str) -> Iterator[None]:
    """Time a chapter; longer than 90 s is a failure."""
    say(f"\n{title}")
    started = time.monotonic()
    yield
    took = time.monotonic() - started
    check(took < CHAPTER_S, f"took {took:.1f} s (at most {CHAPTER_S:.0f} s)")


def default_music() -> Path:
    """Return the folder of the music package that comes with the demo."""
    import immich_memories_music

    return Path(immich_memories_music.__file__).parent


def decoded(source: str) -> str:
    """Return the hash of the PCM that libav decodes from a file or URL, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", DECODE, source], capture_output=True, timeout=CHAPTER_S, check=False
    )
    if done.returncode:
        raise DemoError(f"the decoder failed: {done.stderr.decode()[-300:]}")
    return done.stdout.decode().strip()


def misspelt(title: str) -> str:
    """Return the longest word of a title with two letters in the wrong order."""
    word = max("".join(c if c.isalnum() else " " for c in title).split(), key=len)
    middle = max(1, len(word) // 2 - 1)
    return word[:middle] + word[middle + 1] + word[middle] + word[middle + 2 :] if len(word) > 3 else word


class Story:
    """The five nodes and what happens to them."""

    def __init__(self, root: Path, music: Path) -> None:
        self.root = root
        self.paid: Paid | None = None
        self.ipfs: Ipfs | None = None
        self.artist = Node("artist", root)
        self.operators = [Node(f"operator{i}", root) for i in range(1, OPERATORS + 1)]
        self.listener = Node("listener", root)
        self.chain = DemoChain(root)
        self.nodes = [self.artist, *self.operators, self.listener]
        self.music = music
        self.files: dict[str, Path] = {}
        self.tracks: list[dict[str, Any]] = []
        self.played: set[str] = set()

    def set_up(self) -> None:
        """Create and start every node."""
        say("Starting five nodes: an artist, three operators, a listener; and a development chain …")
        self.chain.start()
        for node in self.nodes:
            operates = (
                {"operator.offered": "4GB", "operator.accept_pledges": "true"}
                if node in self.operators
                else {}
            )
            node.init(**operates)
        for node in self.nodes:
            node.configure(**{"chain.profile": "dev", "chain.endpoints": self.chain.url})
        for node in [self.artist, *self.operators]:
            node.start()
        self.listener.configure(**{"swarm.bootstrap": ",".join(each.address() for each in self.operators)})
        self.listener.start()

    def publish(self) -> None:
        """Chapter 1."""
        done = self.artist.run(
            "publish",
            str(self.music),
            "--title",
            "Demo",
            "--artist",
            "The Demo",
            "--replicas",
            str(OPERATORS),
        )
        self.tracks = done["tracks"]
        paths = sorted(
            each for each in self.music.rglob("*") if each.suffix.lower() in SUFFIXES and each.is_file()
        )
        skipped = {each["file"] for each in done["skipped"]}
        kept = [each for each in paths if each.name not in skipped]
        check(
            len(kept) == len(self.tracks) >= 3, f"{len(self.tracks)} tracks published, encrypted and signed"
        )
        self.files = {track["id"]: path for track, path in zip(self.tracks, kept, strict=True)}
        self.release = done["release"]
        link = self.artist.run("share", self.release)["link"]
        say(f"   {link[:72]}…")
        for operator in self.operators:
            operator.run("join", link)
        deadline = time.monotonic() + 60
        status = self.artist.run("release", "status", self.release)
        while not status["safe_to_close"] and time.monotonic() < deadline:
            time.sleep(0.5)
            status = self.artist.run("release", "status", self.release)
        check(status["safe_to_close"], f"{status['replicas']}/{OPERATORS} replicas audited: safe to close")

    def find_and_play(self) -> None:
        """Chapter 2."""
        wanted = self.tracks[len(self.tracks) // 2]
        typo = misspelt(wanted["title"])
        found = self.listener.run("find", typo, "--limit", "100")
        mine = [each for each in found["items"] if each["id"] == wanted["id"]]
        check(
            bool(mine), f"“{typo}” finds {wanted['title']!r} among {len(found['items'])} tracks of the swarm"
        )
        self.play(wanted["id"], min_peers=2)

    def without_artist(self) -> None:
        """Chapter 3."""
        self.artist.kill()
        check(
            self.artist.process is not None and self.artist.process.poll() == -9, "the artist's node is gone"
        )
        fresh = next(track for track in self.tracks[::-1] if track["id"] not in self.played)
        facts = self.play(fresh["id"], min_peers=1)
        operators = {operator.facts()["peer"] for operator in self.operators}
        check({each["peer"] for each in facts["peers"]} <= operators, "it came from the operators alone")

    def lose_an_operator(self) -> None:
        """Chapter 4."""
        fresh = [track for track in self.tracks if track["id"] not in self.played]
        longest = max(fresh or self.tracks, key=lambda track: track["duration_ms"])
        size = self.files[longest["id"]].stat().st_size
        bytes_per_s = size * 1000 / longest["duration_ms"]
        cap = f"{2 * bytes_per_s * 8 / 1e6:.3f}Mbit"
        for operator in self.operators:
            self._limit(operator, cap)
        session = self.listener.run("play", longest["id"], "--quality", "original", "--url")
        victim = self.operators[0]
        player = Player(session["url"], bytes_per_s, expected=size)
        player.start()
        killed_at = self._kill_in_the_middle(victim, session["session"], size)
        player.heard.wait(CHAPTER_S)
        left_s = (size - self._fetched(session["session"])) / (2 * bytes_per_s * (OPERATORS - 1))
        if left_s > REST_S:
            say(f"   the rest would take {left_s:.0f} s more: the caps are lifted")
            for operator in self.operators[1:]:
                self._limit(operator, "off")
        player.join(timeout=CHAPTER_S)
        check(
            player.error is None and player.body is not None,
            f"played to the end ({player.error or 'no error'})",
        )
        check(0 < killed_at < 0.95, f"{victim.name} was killed with {killed_at:.0%} of the track fetched")
        check(player.late_s < 0.3, f"the sound did not break (worst delay {player.late_s * 1000:.0f} ms)")
        self._compare(longest["id"], player.body or b"", session["url"])
        facts = self.listener.api(f"/api/v1/player/sessions/{session['session']}")
        say(f"   {facts['title']}: {len(facts['peers'])} peers, {cap}/s upload each")

    def sell_and_vote(self) -> None:
        """Chapter 5."""
        self.artist.start()
        market = Market(
            chain=self.chain, artist=self.artist, listener=self.listener, release=self.release, check=check
        )
        market.sell()
        market.vote()

    def set_up_shop(self) -> None:
        """Start who comes in with chapter 6."""
        say("\nStarting six more nodes: four guardians, a newcomer, somebody without a licence …")
        self.paid = Paid(
            root=self.root, chain=self.chain, artist=self.artist, operators=self.operators, files=self.files,
            decoded=decoded, check=check, say=say,
        )  # fmt: skip
        self.nodes += self.paid.nodes
        self.paid.set_up()

    def open_shop(self) -> None:
        """Chapter 6."""
        assert self.paid is not None
        self.paid.sell()

    def buy_asleep(self) -> None:
        """Chapter 7."""
        assert self.paid is not None
        self.paid.buy()

    def set_up_kubo(self) -> None:
        """Start who comes in with chapter 8."""
        say("\nStarting a stock Kubo and two nodes that know nobody …")
        self.ipfs = Ipfs(
            root=self.root, files=list(self.files.values()), decoded=decoded, check=check, say=say
        )
        self.nodes += self.ipfs.nodes
        self.ipfs.set_up()

    def keep_on_kubo(self) -> None:
        """Chapter 8."""
        assert self.ipfs is not None
        self.ipfs.tell()

    def _limit(self, operator: Node, cap: str) -> None:
        """Start an operator anew with an upload cap and let the listener meet it again."""
        operator.stop()
        operator.configure(**{"swarm.upload_cap": cap})
        operator.start()
        self.listener.run("peers", "connect", operator.address())

    def _fetched(self, session: str) -> int:
        return int(self.listener.api(f"/api/v1/player/sessions/{session}")["bytes_fetched"])

    def play(self, track: str, *, min_peers: int) -> dict[str, Any]:
        """Play one track at the original tier and compare it with the artist's file."""
        self.played.add(track)
        session = self.listener.run("play", track, "--quality", "original", "--url")
        sound = decoded(session["url"])
        facts = self.listener.api(f"/api/v1/player/sessions/{session['session']}")
        with urlopen(session["url"], timeout=60) as reply:
            body = reply.read()
        say(
            f"   {facts['title']}: first sound {facts['first_sound_ms']:.0f} ms, "
            f"{len(facts['peers'])} peers, {facts['bytes_per_s'] / 1e6:.1f} MB/s"
        )
        check(
            len(facts["peers"]) >= min_peers, f"fetched encrypted from {len(facts['peers'])} peers, verified"
        )
        check(body == self.files[track].read_bytes(), "the bytes served are the artist's file")
        check(
            sound == decoded(str(self.files[track])), "libav decodes the stream to the same PCM as the file"
        )
        part = urlopen(Request(session["url"], headers={"range": "bytes=1000-1999"}), timeout=30)
        check(part.status == 206 and part.read() == body[1000:2000], "a Range request gets exactly its bytes")
        return facts

    def _compare(self, track: str, body: bytes, url: str) -> None:
        check(body == self.files[track].read_bytes(), "every byte is the artist's")
        check(decoded(url) == decoded(str(self.files[track])), "the decoded PCM is the same")

    def _kill_in_the_middle(self, victim: Node, session: str, size: int) -> float:
        """Kill a node with 30 % of the track fetched, in a long track after 20 s; return the share."""
        deadline = time.monotonic() + 20
        while True:
            share = self._fetched(session) / size
            if share > 0.3 or time.monotonic() > deadline:
                victim.kill()
                return share
            time.sleep(0.02)


def main() -> int:
    """Tell the story and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--music", type=Path, help="a folder of music instead of the one that comes along")
    parser.add_argument("--keep", action="store_true", help="leave the swarm running")
    args = parser.parse_args()
    os.environ.pop("MARINA_PASSPHRASE_FILE", None)
    root = Path(tempfile.mkdtemp(prefix="marina-demo-"))
    story = Story(root, (args.music or default_music()).expanduser().resolve())
    ok = False
    try:
        story.set_up()
        with chapter("1  Publish: encrypt, sign, share; three operators join"):
            story.publish()
        with chapter("2  Find and play: a misspelt word, several peers, an outside decoder"):
            story.find_and_play()
        with chapter("3  The artist is gone"):
            story.without_artist()
        with chapter("4  An operator dies in the middle of a song"):
            story.lose_an_operator()
        with chapter("5  The album is sold, its makers are paid, the DAO votes"):
            story.sell_and_vote()
        story.set_up_shop()
        with chapter("6  Seven guardians; an album is published at a price"):
            story.open_shop()
        with chapter("7  The artist sleeps; a stranger to her buys the album and hears it"):
            story.buy_asleep()
        story.set_up_kubo()
        with chapter(
            "8  A citizen of IPFS: a stock Kubo keeps a release, and plays it when all else is gone"
        ):
            story.keep_on_kubo()
        ok = True
        say("\nEverything held.")
    except DemoError as err:
        say(f"\nThe demo failed: {err}\nThe homes with their logs are in {root}")
    finally:
        if ok and args.keep:
            link = story.listener.run("up")["link"]
            say(f"The swarm stays up. Player of the listener: {link}  (60 s; again: marina up)")
            chain = story.chain.process
            pid = chain.pid if chain else ""
            say(
                f"Stop it: for home in {root}/*/; do marina --home $home stop; done; kill {pid}; rm -r {root}"
            )
        else:
            for node in story.nodes:
                node.stop()
            story.chain.stop()
            processes = {node.name: node.process for node in story.nodes} | {"chain": story.chain.process}
            if story.ipfs is not None:
                story.ipfs.stop()
            if story.paid is not None:
                story.paid.stop()
                processes |= story.paid.processes
            left = [name for name, process in processes.items() if process and process.poll() is None]
            if left:
                say(f"still running: {', '.join(left)}")
                ok = False
            if ok:
                shutil.rmtree(root)
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
