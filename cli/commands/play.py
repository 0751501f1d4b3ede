"""marina play: start a player on a track, release or link."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

from cli.api import Daemon
from cli.console import Console, clean, counted, human_bytes, human_time
from cli.sound_file import check_free, write_sound
from marina.errors import MarinaError, UsageError

PLAYERS: dict[str, list[str]] = {
    "mpv": ["mpv", "--no-video", "--really-quiet", "--force-seekable=yes"],
    "ffplay": ["ffplay", "-nodisp", "-autoexit", "-loglevel", "error"],
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("id", help="number of the last find, id, unique prefix, or marina: link")
    parser.add_argument("--quality", choices=("low", "high", "original", "auto"), default="auto")
    parser.add_argument(
        "--preview", action="store_true", help="the free preview of a track that is sold, with no licence"
    )
    parser.add_argument("--wav", type=Path, metavar="FILE", help="decode to a WAV file instead of playing")
    parser.add_argument(
        "--pcm", type=Path, metavar="FILE", help="decode to raw 16-bit PCM; '-' is standard output"
    )
    parser.add_argument(
        "--url", action="store_true", help="only print the stream's address, valid a few minutes"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Open a session and hand its stream to a player."""
    daemon = Daemon(console)
    quality = "preview" if args.preview else args.quality
    body = {"target": args.id, "quality": quality, "offline": console.is_offline}
    session = daemon.post("/api/v1/play", body)
    url = daemon.url(session["stream_url"])
    if args.url:
        console.result({**session, "url": url}, url)
        return 0
    if args.wav or args.pcm:
        return _decode(daemon, session, args.wav or args.pcm, console, is_wav=bool(args.wav))
    player = next((command for name, command in PLAYERS.items() if shutil.which(name)), None)
    if player is None:
        link = daemon.post("/api/v1/player-link", {})["link"]
        console.result({**session, "url": url, "player": link}, f"Open the player: {link}")
        console.hint("No mpv or ffplay found; install one, or use the page (the link is valid for 60 s).")
        return 0
    console.hint(
        f"▶ {clean(session['artist'])} — {clean(session['title'])}   {human_time(session['duration_ms'])}"
    )
    # The ticket in the URL opens this one track for some minutes; it is not the owner's token.
    code = subprocess.run([*player, url], check=False).returncode
    if code != 0:
        raise MarinaError(
            f"{player[0]} could not play it: use the page that 'marina up' links to, or --wav FILE"
        )
    facts = daemon.get(f"/api/v1/player/sessions/{session['session']}")
    console.result(facts, _summary(facts))
    return 0


def _summary(facts: dict) -> str:  # type: ignore[type-arg]
    first_ms = facts["first_sound_ms"]
    sound = "–" if first_ms is None else f"{first_ms / 1000:.2f} s"
    rate = human_bytes(facts["bytes_per_s"])
    fetched = human_bytes(facts["bytes_fetched"])
    return f"first sound {sound} · {counted(len(facts['peers']), 'peer')} · {rate}/s · {fetched} fetched"


def _decode(daemon: Daemon, session: dict, target: Path, console: Console, *, is_wav: bool) -> int:  # type: ignore[type-arg]
    to_stdout = str(target) == "-"
    if to_stdout and is_wav:
        raise UsageError("a WAV header needs a file; use --pcm - for standard output")
    if not to_stdout:
        check_free(target)
    pcm = write_sound(daemon.download(session["stream_url"]), None if to_stdout else target, is_wav=is_wav)
    if not to_stdout:
        facts = {"sample_rate_hz": pcm.sample_rate_hz, "channels": pcm.channels, "samples": pcm.samples}
        shape = f"{pcm.sample_rate_hz} Hz, {counted(pcm.channels, 'channel')}, 16 bit"
        console.result({**session, **facts, "file": str(target)}, f"Wrote {clean(target)}: {shape}.")
    return 0
