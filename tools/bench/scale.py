"""How much work the benchmark does: everything by default, less with MARINA_BENCH_SCALE below 1."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bench:
    """One run.

    Attributes:
        scale: 1 for the sizes of the goals; a tenth of the data and of the repetitions for 0.1.
        folder: temporary data, removed at the end of the run.
        build: where downloads of peers are kept between runs.
    """

    scale: float
    folder: Path
    build: Path

    def count(self, full: int, *, least: int = 1) -> int:
        """Return a number of repetitions or pieces at this scale."""
        return max(least, round(full * min(1.0, self.scale)))

    @property
    def scale_note(self) -> str:
        """What to add to ``how`` when the run was smaller than the goal says."""
        return (
            "" if self.scale >= 1 else f"; quick run at scale {self.scale:g}, sizes smaller than the goal's"
        )


def read_scale() -> float:
    """Return MARINA_BENCH_SCALE, 1 unless set.

    Raises:
        SystemExit: it is no number above 0 and up to 1.
    """
    text = os.environ.get("MARINA_BENCH_SCALE", "1")
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not 0 < scale <= 1:
        raise SystemExit(f"MARINA_BENCH_SCALE is {text!r}: give a number above 0 and up to 1")
    return scale
