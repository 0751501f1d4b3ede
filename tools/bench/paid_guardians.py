"""Starts ``tools.bench.paid_party``: guardians as a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.content.guarded import KeyHolder
from storage.content.keybox import Keybox, parse_keybox
from tools.bench.child import ROOT


@dataclass(frozen=True, slots=True)
class Named:
    """A guardian as an artist knows it."""

    holder: KeyHolder


@dataclass(frozen=True, slots=True)
class Running:
    """Guardians that run.

    Attributes:
        addresses: where each listens.
        guardians: their public keys.
        box: a keybox of the track that is known in memory.
        pid: of their process.
    """

    addresses: list[str]
    guardians: list[Named]
    box: Keybox
    pid: int


@contextmanager
def party(folder: Path, chain: str, kinds: Sequence[str]) -> Iterator[Running]:
    """Run guardians while the block runs.

    Args:
        folder: for their release logs; made here.
        chain: address of a development chain, or ``-``.
        kinds: of each, as ``tools.bench.paid_party`` says.
    """
    folder.mkdir()
    command = [sys.executable, "-m", "tools.bench.paid_party", str(folder), chain, *kinds]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            guardians = [Named(KeyHolder(*map(bytes.fromhex, each))) for each in said["holders"]]
            box = parse_keybox(bytes.fromhex(said["keybox"]))
            yield Running(said["addresses"], guardians, box, process.pid)
        finally:
            process.kill()
