"""A process that hangs while it stops is ended, and one that stops in time is not."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

CHILD = """
import time
from node.fuse import light_fuse
light_fuse(0.3)
time.sleep({hangs_s})
"""


@pytest.mark.parametrize(("hangs_s", "code"), [(30, 70), (0, 0)])
def test_a_process_ends_when_its_fuse_has_burnt_down_and_no_later(hangs_s: int, code: int) -> None:
    started_s = time.monotonic()
    done = subprocess.run([sys.executable, "-c", CHILD.format(hangs_s=hangs_s)], timeout=20, check=False)
    assert done.returncode == code
    assert time.monotonic() - started_s < 10
