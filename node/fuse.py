"""Ends the process when stopping takes too long, whatever hangs: a disk, a peer, a library.

Nothing acknowledged is lost by it: the database syncs each write and segments count after their flush,
which is what a killed process relies on too (tests/faults).
"""

from __future__ import annotations

import logging
import os
import threading

log = logging.getLogger("marina.node")
EXIT_FORCED = 70


def light_fuse(delay_s: float) -> None:
    """End the process after so many seconds unless it has ended by then."""
    timer = threading.Timer(delay_s, _burn)
    timer.daemon = True
    timer.start()


def _burn() -> None:
    log.error("stopping took too long and was cut short: nothing acknowledged is lost")
    logging.shutdown()
    os._exit(EXIT_FORCED)
