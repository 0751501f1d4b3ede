"""Installs every peer of the tests, one after another: in CI beside the tests that need none.

Whoever needs one meanwhile waits for it (``only_one``); what cannot be installed is said by the test that
needs it.
"""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold a folder below ``build`` while the block runs, against other processes too."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Install all."""
    from tools.bench import helia, kubo, kubo_daemon
    from tools.bench.child import ROOT, ChildError

    for install in (kubo_daemon.program, kubo.library, helia.command):
        try:
            install(ROOT / "build")
        except ChildError as err:
            print(err, file=sys.stderr)


if __name__ == "__main__":
    main()
