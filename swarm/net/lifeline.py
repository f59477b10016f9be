"""Processes that must not outlive the one that started them, whatever kills it."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def tie_to_parent() -> Callable[[], None] | None:
    """For `subprocess.Popen(preexec_fn=...)`: the child dies with its parent and is deaf to the terminal (Linux)."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)  # loaded before the fork, where loading is not safe

    def prepare() -> None:
        os.setsid()
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return prepare


def die_with_parent(parent_pid: int) -> None:
    """From now on this process is killed when its parent ends (Linux); at once if it has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


def ignore_terminal_signals() -> None:
    """Ctrl+C reaches every process of a terminal: only the one that talks to the person acts on it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def ignore_stop_signals() -> None:
    """The same for SIGTERM too, which service managers send to every process: whoever started this one ends it."""
    ignore_terminal_signals()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
