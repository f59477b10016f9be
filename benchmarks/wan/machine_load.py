"""How busy the whole machine is, from /proc/stat: a link cannot be filled by CPUs that have no time left."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SATURATED = 0.9
"""Above this mean share of all CPUs' time, a figure says more about the machine than about the link."""

_NICE, _IDLE, _IO_WAIT = 1, 3, 4
_FIELDS = 8
"""user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already."""


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU time of the whole machine since it started, in clock ticks, and when it was read."""

    at_s: float
    busy: int
    total: int


def read(now_s: float) -> Reading:
    """One reading of this machine."""
    return parse(Path("/proc/stat").read_text(), now_s, is_nice=os.nice(0) > 0)


def parse(stat: str, now_s: float, *, is_nice: bool) -> Reading:
    """A reading from the text of /proc/stat.

    Time that a hypervisor gave to others counts as busy, since nobody here could have it; that of programs which make
    way for others (`nice`) does not, unless this one is such itself.
    """
    ticks = [int(field) for field in stat.splitlines()[0].split()[1 : 1 + _FIELDS]]
    to_be_had = ticks[_IDLE] + ticks[_IO_WAIT] + (0 if is_nice else ticks[_NICE])
    return Reading(now_s, sum(ticks) - to_be_had, sum(ticks))


def busy_share(readings: Sequence[Reading], *, begin_s: float, end_s: float) -> float:
    """Mean share of all CPUs in use between two instants, as close as the readings come to them."""
    first = max((one for one in readings if one.at_s <= begin_s), key=lambda one: one.at_s, default=readings[0])
    last = min((one for one in readings if one.at_s >= end_s), key=lambda one: one.at_s, default=readings[-1])
    return (last.busy - first.busy) / max(1, last.total - first.total)
