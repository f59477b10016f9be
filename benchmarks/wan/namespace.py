"""Network namespaces through the two system calls themselves: Python 3.11 has neither `os.unshare` nor `os.setns`.

Both act on the calling thread only; what it starts afterwards, threads and processes, begins where it stands.
"""

import ctypes
import os
import threading
from pathlib import Path

_CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


def leave_for_new() -> int:
    """Moves this thread into a new network namespace and returns a descriptor that keeps it alive.

    Raises:
        OSError: without the right to make one.
    """
    try:
        _check(_libc.unshare(_CLONE_NEWNET))
    except OSError as error:
        raise OSError(f"{error.strerror}: only root, or root of a user namespace, makes network namespaces") from None
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def enter(namespace: int) -> None:
    """Moves this thread into the namespace behind an open descriptor."""
    _check(_libc.setns(namespace, _CLONE_NEWNET))


def enter_path(path: Path) -> None:
    """Moves this thread into the namespace that a file stands for."""
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(namespace)
    finally:
        os.close(namespace)


def read_inside(path: Path, file: str) -> str:
    """What `file` says to somebody inside the namespace, for files of /proc/thread-self/net."""
    found: list[str] = []

    def read() -> None:
        enter_path(path)
        found.append((Path("/proc/thread-self/net") / file).read_text())

    thread = threading.Thread(target=read)  # ends in there, so that the caller never has to find its way back
    thread.start()
    thread.join()
    if not found:
        raise OSError(f"cannot read {file} of the namespace {path}")
    return found[0]


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
