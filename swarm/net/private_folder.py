"""A folder for a daemon's socket and log that does not outlive its process, even if that is killed.

The socket's path must be short, so the folder lies in the system's folder for temporary files. It holds a locked file;
the kernel drops the lock with the process, and whoever makes the next folder removes those whose lock is free. A file
is locked before it gets its name, so a folder that is just being made is never taken for one that was left behind.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from swarm.errors import StateError

_PREFIX = "tapestry-"
_LOCK = "owner.lock"


class PrivateFolder:
    """A fresh folder, readable by its owner only, until `remove` or the end of this process."""

    def __init__(self) -> None:
        """Makes it, and removes those that killed processes of this user have left.

        Raises:
            StateError: the system's folder for temporary files cannot be written.
        """
        temporary = Path(tempfile.gettempdir())
        _remove_left_behind(temporary)
        try:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=temporary))
            unnamed = self.path / f"{_LOCK}.new"
            self._lock = os.open(unnamed, os.O_WRONLY | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            unnamed.rename(self.path / _LOCK)
        except OSError as error:
            raise StateError(f"cannot make a folder in {temporary}: {error.strerror}") from None

    def remove(self) -> None:
        """Removes it and all that lies in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_left_behind(temporary: Path) -> None:
    for lock in temporary.glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError):  # another user's, or one that its owner removes at this very moment
            if _is_free(lock):
                shutil.rmtree(lock.parent, ignore_errors=True)


def _is_free(lock: Path) -> bool:
    """Whether no living process holds it. Raises OSError."""
    descriptor = os.open(lock, os.O_WRONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
