"""Growth over time: what /proc says of a process, and a robust line through it.

Memory is what a process holds beside files. What it shares with the template it was forked from counts as well: Python
writes to whatever it looks at, so page by page that becomes the process's own, which is no growth. The line is
Theil-Sen's (the median of all slopes between two samples), which a few bursts do not move.
"""

import os
import statistics
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

FEWEST_SAMPLES = 8
_MOST_SAMPLES = 200
"""For one line: above it only every so manyth is taken."""


@dataclass(frozen=True)
class Usage:
    """One process at one instant."""

    memory_bytes: int
    """Anonymous, and resident or swapped."""
    descriptors: int


@dataclass(frozen=True)
class Trend:
    """A line through samples."""

    first: float
    """Median of the first fifth."""
    last: float
    """Median of the last fifth."""
    per_minute: float
    samples: int

    def __str__(self) -> str:
        return f"{self.first:,.1f} -> {self.last:,.1f} ({self.per_minute:+,.2f} a minute, {self.samples} samples)"


@dataclass(frozen=True)
class Bound:
    """How much a quantity may grow."""

    least: float
    """Less than this from the first fifth to the last is noise, whatever the line says."""
    share: float
    """Of what there was in the first fifth: more than this (and than `least`) is growth."""

    def is_broken(self, trend: Trend) -> bool:
        """Whether both the line and the difference of its ends say that it grows."""
        return trend.per_minute > 0 and trend.last - trend.first > max(self.least, self.share * trend.first)


def usage(pid: int) -> Usage | None:
    """What a process uses; None if it is gone."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = [line.split() for line in rollup.splitlines()[1:]]
    held = sum(int(words[1]) for words in fields if words[0] in ("Anonymous:", "Swap:"))
    return Usage(1024 * held, descriptors) if held else None


def beyond(kept: Sequence[tuple[float, float]], due: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """How much more was kept at each instant than was due at that time; never less than 0. Both in order of time."""
    instants = [at for at, _ in due]
    found: list[tuple[float, float]] = []
    for at, value in kept:
        place = bisect_right(instants, at)
        found.append((at, max(0.0, value - (due[place - 1][1] if place else 0.0))))
    return found


def trend(samples: Sequence[tuple[float, float]]) -> Trend | None:
    """The line through (seconds, value); None for too few samples to tell."""
    if len(samples) < FEWEST_SAMPLES:
        return None
    fifth = max(1, len(samples) // 5)
    values = [value for _, value in samples]
    thinned = samples[:: max(1, len(samples) // _MOST_SAMPLES)]
    slopes = [(b - a) / (t - s) for (s, a), (t, b) in combinations(thinned, 2) if t > s]
    per_minute = 60 * statistics.median(slopes)
    return Trend(statistics.median(values[:fifth]), statistics.median(values[-fifth:]), per_minute, len(samples))
