"""marina doctor: checks everything that can be checked, in plain sentences with the fixing command."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from dataclasses import dataclass

from cli.api import Daemon
from cli.console import Console, human_bytes
from cli.start import is_initialised, load, running
from marina.errors import MarinaError
from storage.lock import holder_pid
from storage.paths import Home

OK, WARN, BAD = "✓", "!", "✗"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's result: a mark, a sentence, and the command that fixes it."""

    mark: str
    text: str
    fix: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""
    del parser


def run(args: argparse.Namespace, console: Console) -> int:
    """Print every finding; exit 8 if one is bad."""
    del args
    findings = [*_home(console)]
    if is_initialised(console):
        findings += [*_settings(console), *_sandbox(), *_daemon(console)]
    data = [{"mark": each.mark, "text": each.text, "fix": each.fix} for each in findings]
    lines = [
        f" {each.mark} {each.text}" + (f"\n     fix: {each.fix}" if each.fix else "") for each in findings
    ]
    console.result({"findings": data}, lines)
    return 8 if any(each.mark == BAD for each in findings) else 0


def _home(console: Console) -> list[Finding]:
    home = Home(console.home)
    if not is_initialised(console):
        return [Finding(BAD, f"there is no node in {console.home}", "marina up")]
    found = [Finding(OK, f"home {console.home}")]
    try:
        home.check()
    except MarinaError as err:
        text, _, fix = str(err).partition(": run: ")
        return [Finding(BAD, text, fix)]
    free = shutil.disk_usage(console.home).free
    if free < 512 * 1024 * 1024:
        found.append(
            Finding(BAD, f"only {human_bytes(free)} of disk left: nothing new is stored", "free some disk")
        )
    else:
        found.append(Finding(OK, f"disk: {human_bytes(free)} free"))
    started_s = time.perf_counter()
    probe = home.root / ".doctor"
    try:
        fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, bytes(4096))
            os.fsync(fd)
        finally:
            os.close(fd)
        found.append(Finding(OK, f"fsync: {1000 * (time.perf_counter() - started_s):.0f} ms"))
    except OSError as err:
        found.append(Finding(BAD, f"the home cannot be written: {err.strerror}", "check the disk"))
    finally:
        probe.unlink(missing_ok=True)
    return found


def _settings(console: Console) -> list[Finding]:
    try:
        settings = load(console)
    except MarinaError as err:
        return [Finding(BAD, str(err), "edit config.toml")]
    found = [Finding(OK, f"settings: profile {settings.profile}")]
    if not (settings.swarm.bootstrap or settings.swarm.lan_discovery):
        found.append(
            Finding(
                WARN,
                "no bootstrap address and no LAN discovery: peers come only from links",
                "marina config set swarm.lan_discovery true",
            )
        )
    return found


def _sandbox() -> list[Finding]:
    import trio

    from storage.audio.sandbox import open_sandbox

    async def probe() -> bool:
        async with open_sandbox() as sandbox:
            report = await sandbox.self_test()
            return not (report.can_open or report.can_connect or report.can_fork or report.can_exec)

    try:
        is_sound = trio.run(probe)
    except MarinaError as err:
        return [Finding(WARN, str(err))]
    if is_sound:
        return [Finding(OK, "audio decoder is confined")]
    return [Finding(BAD, "the audio decoder is not confined on this machine: do not publish foreign files")]


def _daemon(console: Console) -> list[Finding]:
    daemon = running(console)
    if daemon is None:
        pid = holder_pid(Home(console.home).daemon_lock)
        if pid:
            return [Finding(BAD, f"process {pid} holds this home but does not answer", "marina logs")]
        return [Finding(WARN, "the daemon does not run", "marina up")]
    return [Finding(OK, f"daemon runs at {daemon.base_url}"), *_health(daemon)]


def _health(daemon: Daemon) -> list[Finding]:
    marks = {"healthy": OK, "degraded": WARN, "unhealthy": BAD}
    try:
        report = daemon.get("/api/v1/health")
    except MarinaError as err:
        return [Finding(BAD, str(err), "marina logs")]
    return [
        Finding(marks[each["status"]], f"{name}: {each['message']}")
        for name, each in report["components"].items()
    ]
