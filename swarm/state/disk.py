"""One file at a time, so that a crash leaves the old one or the new one: beside, synced, renamed, folder synced.

Every error of the disk is a StateError of one sentence that names the file. What lies in the files is not known here.
"""

import asyncio
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from swarm.errors import StateError

if TYPE_CHECKING:  # numpy comes with it, and a command line that only writes files needs none
    from swarm.vector.bounds import Buffer

_WRITES = count()
_SYNC_EVERY_BYTES = 32 * 1024 * 1024
"""A vote's sync waits for what is dirty at that moment: a large file beside it is synced piece by piece."""


@contextmanager
def told(path: Path) -> Generator[None]:
    """An error of the disk as a StateError that names the path."""
    try:
        yield
    except OSError as error:
        raise StateError(f"cannot use {path}: {error.strerror}") from None


def read_file(path: Path) -> bytes | None:
    """The file's bytes, or None if nothing lies there. Raises StateError when it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror}") from None


async def write_file(path: Path, parts: "Iterable[Buffer]", *, mode: int = 0o644) -> None:
    """Replaces the file in one step, in a thread, since a disk can be slow.

    Raises:
        StateError: the disk refuses; the old file is as it was.
    """
    await asyncio.to_thread(replace_file, path, parts, mode=mode)


def replace_file(path: Path, parts: "Iterable[Buffer]", *, mode: int = 0o644) -> None:
    """`write_file` for who can wait: it is synced when this returns. Raises StateError as that does."""
    try:
        _write_now(path, parts, mode)
    except OSError as error:
        raise StateError(f"cannot write {path}: {error.strerror}") from None


def sync_folder(folder: Path) -> None:
    """Returns once all below a folder is on disk, files before the folders that name them. Raises StateError."""

    def unreadable(error: OSError) -> None:
        raise error

    with told(folder):
        for parent, _, names in os.walk(folder, topdown=False, onerror=unreadable):
            for name in names:
                _sync(Path(parent, name))
            _sync(Path(parent))


def remove_half_written(folder: Path) -> None:
    """Removes what writes that a crash cut short have left. Raises OSError."""
    for half_written in folder.glob("*.new"):
        half_written.unlink()


def _write_now(path: Path, parts: "Iterable[Buffer]", mode: int) -> None:
    # A name of its own: a write whose task was cancelled goes on in its thread beside the one after it.
    beside = path.with_name(f"{path.name}.{next(_WRITES)}.new")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            unsynced_bytes = 0
            for part in parts:
                file.write(part)
                unsynced_bytes += len(part)
                if unsynced_bytes >= _SYNC_EVERY_BYTES:
                    file.flush()
                    os.fsync(file.fileno())
                    unsynced_bytes = 0
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)  # what was renamed is no longer there
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
