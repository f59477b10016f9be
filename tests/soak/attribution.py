"""What memory that has grown is made of: allocations by line, and what malloc holds, in the elders' node processes.

For `--attribute`. A traced node writes a snapshot of tracemalloc into its state folder whenever it is sent SIGUSR1;
tracing itself takes memory and time, so a traced run's other figures are its own.
"""

import ctypes
import os
import signal
import tracemalloc
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.integration.processes import wait_for

FRAMES = 3
_SHOWN = 14
_SNAPSHOT, _MALLOC = "memory-{}", "malloc-{}"
_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
_MIB = 2**20


class _Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def trace(folder: Path) -> None:
    """Called in the process that is to be traced, before its work begins."""
    written = 0

    def write(*_: object) -> None:
        nonlocal written
        snapshot = folder / _SNAPSHOT.format(written)
        tracemalloc.take_snapshot().dump(str(snapshot.with_suffix(".new")))
        (folder / _MALLOC.format(written)).write_text(_malloc())
        snapshot.with_suffix(".new").rename(snapshot)
        written += 1

    tracemalloc.start(FRAMES)
    signal.signal(signal.SIGUSR1, write)


class Attribution:
    """The driver's end."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        """State folders of the traced, by name."""
        self._folders = folders
        self._marks = 0

    def mark(self, pids: Iterable[int]) -> None:
        """Has every traced process write what it holds now."""
        for pid in pids:
            os.kill(pid, signal.SIGUSR1)
        files = [folder / _SNAPSHOT.format(self._marks) for folder in self._folders.values()]
        wait_for("snapshots of memory", lambda: all(path.exists() for path in files))
        self._marks += 1

    def report(self) -> list[str]:
        """What has grown between the first mark and the last."""
        lines: list[str] = []
        for name, folder in self._folders.items():
            first, last = (
                tracemalloc.Snapshot.load(str(folder / _SNAPSHOT.format(number))) for number in (0, self._marks - 1)
            )
            skipped = (tracemalloc.Filter(False, tracemalloc.__file__),)
            grown = last.filter_traces(skipped).compare_to(first.filter_traces(skipped), "traceback")
            total = sum(each.size_diff for each in grown)
            lines.append(
                f"memory       {name}: Python's objects {total / _MIB:+.2f} MiB; malloc: {self._malloc(folder)}"
            )
            for each in grown[:_SHOWN]:
                where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(each.traceback))
                lines.append(f"               {each.size_diff / 1024:+9.1f} KiB in {each.count_diff:+6d}: {where}")
        return lines

    def _malloc(self, folder: Path) -> str:
        first, last = ((folder / _MALLOC.format(number)).read_text() for number in (0, self._marks - 1))
        return f"{first} -> {last}"


def _malloc() -> str:
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _Mallinfo
    found = libc.mallinfo2()
    used, free, mapped = found.uordblks / _MIB, found.fordblks / _MIB, found.hblkhd / _MIB
    return f"{used:.1f} used, {free:.1f} free, {mapped:.1f} mapped"
