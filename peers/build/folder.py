"""A build's folder: where it may lie, and that one command works in it at a time."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from peers.lineage.history import CHARTER_NAME
from swarm.errors import StateError, UsageError
from swarm.state.disk import told

_OWNER_ONLY = 0o700


def make_folder(build: Path, data: Path) -> None:
    """Makes an empty build folder, for its owner only.

    Args:
        data: the folder that the build trains on.

    Raises:
        UsageError: it is there already, or has no folder to lie in.
        StateError: it would lie in a peer's state folder, which the process with the network can open, or among the
            data; or the disk refuses.
    """
    place = build.absolute()
    if not place.parent.is_dir():
        raise UsageError(f"folder {place.parent} does not exist")
    if build.exists():
        raise UsageError(f"{build} exists already and is not overwritten")
    for folder in place.resolve().parents:
        if (folder / CHARTER_NAME).is_file():
            raise StateError(f"{folder} is a peer's state folder, which its network process can open: build elsewhere")
        if folder == data.resolve():
            raise StateError(f"{folder} is the data folder, of which every file needs a label: build elsewhere")
    with told(build):
        build.mkdir(mode=_OWNER_ONLY)


@contextmanager
def alone(build: Path) -> Generator[None]:
    """Nobody else changes the build meanwhile. Raises UsageError or StateError."""
    if not build.is_dir():
        raise UsageError(f"build folder {build} does not exist")
    with told(build):
        descriptor = os.open(build, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise StateError(f"another command is at work on {build}") from None
    finally:
        os.close(descriptor)
