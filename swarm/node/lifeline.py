"""Processes that must not outlive the one that started them, whatever kills it."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """From now on this process is killed when its parent ends (Linux); at once if it has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


def ignore_terminal_signals() -> None:
    """Ctrl+C reaches every process of a terminal: only the one that talks to the person acts on it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
