"""The only caller of `time`: wall time for documents, loop time for protocols.

Protocol code measures with `monotonic_s()` and waits with asyncio's own timers. Both read the running loop's clock, so
a test that runs the code on a `VirtualTimeLoop` (swarm.net.memory) sees hours pass in milliseconds.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

_START_TIME = 19
"""Field 22 of /proc/PID/stat (proc(5)), counted from the one after the process's name."""

WallClock = Callable[[], float]
"""Returns seconds since the Unix epoch; an argument wherever a document's expiry is judged."""


def unix_s() -> float:
    """Seconds since the Unix epoch, from the system's clock."""
    return time.time()


def monotonic_s() -> float:
    """Seconds on the running event loop's clock; only differences mean something."""
    return asyncio.get_running_loop().time()


def process_s() -> float:
    """Seconds on the system's monotonic clock, the same in every process; for code that has no event loop (trainer,
    benchmarks, CLI) and for spans that begin in another process."""
    return time.monotonic()


def process_began_s() -> float:
    """When this process was started, on the clock of `process_s`; where the system does not say, now."""
    try:
        ticks = float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[_START_TIME])
    except FileNotFoundError:
        return time.monotonic()
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - age_s


def thread_cpu_s() -> float:
    """Processor seconds this thread has used."""
    return time.thread_time()


def pause_s(seconds: float) -> None:
    """Blocks this thread; for synchronous supervisors only, never inside a protocol."""
    time.sleep(seconds)


def thread_busy_s() -> float:
    """Seconds this thread has used a processor or, where the system says so, waited for one."""
    try:
        ran_ns, waited_ns, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except FileNotFoundError:
        return time.thread_time()
    return (int(ran_ns) + int(waited_ns)) / 1e9
