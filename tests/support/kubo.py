"""A current Kubo with its RPC, offline on loopback, for one test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.peers_installed import kubo
from tools.bench.kubo_daemon import KuboDaemon


@contextmanager
def running_kubo(folder: Path, **options: Any) -> Iterator[KuboDaemon]:
    """Yield a started daemon (``options`` as for KuboDaemon) and end it on every path."""
    daemon = KuboDaemon(kubo(), folder / "kubo", **options)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.kill()
