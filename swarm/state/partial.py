"""A state in the making: the pieces of a download, in memory and in a file that outlives the process.

    STATE/download/000000007-<state digest>     the base, then each outer vector: little-endian float32, holes for zeros

The file says nothing about which pieces it has: whoever takes a download up again compares every piece with its leaf,
so what was torn by a power cut, or changed on disk, is simply fetched again. One download is kept at a time. A disk
that is full or broken costs only the resuming: the download goes on in memory, and that is said.

Who lied about a piece is remembered here too, until the process ends.
"""

import asyncio
import os
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from swarm.identity.peer_id import PeerId
from swarm.state.run import Run
from swarm.vector.digest import Buffer, chunk_bytes

MOST_LIARS = 1000
"""Remembered at a time, the newest; whoever has more identities than that is asked once for each."""


@dataclass(frozen=True)
class Target:
    """Which state a download is of."""

    round: int
    state_digest: bytes


@dataclass
class Partial:
    """One state, as far as it is here."""

    target: Target
    vectors: tuple[np.ndarray, ...]
    """Float32 [N] each; arbitrary where no piece is held."""
    held: set[int] = field(default_factory=set[int])
    """Verified pieces; index = vector x chunks + chunk."""
    is_from_disk: bool = False
    """Whether `vectors` were read from a file, and their pieces have yet to be compared with their leaves."""


class Partials:
    """Keeps the download at hand: between tries of one process, and in `folder` between processes."""

    def __init__(self, run: Run, folder: Path | None, say: Callable[[str], None]) -> None:
        """Without a folder, memory only."""
        self._run = run
        self._folder = folder
        self._say = say
        self._current: Partial | None = None
        self._liars: dict[PeerId, None] = {}

    @property
    def liars(self) -> Set[PeerId]:
        """Donors that are not asked again: they showed the right leaves and sent pieces that are not in them."""
        return self._liars.keys()

    def distrust(self, donor: PeerId) -> None:
        """Remembers a liar."""
        self._liars[donor] = None
        if len(self._liars) > MOST_LIARS:
            del self._liars[next(iter(self._liars))]

    def target(self) -> Target | None:
        """Of the download that was not finished; the one in memory before one on disk."""
        if self._current is not None:
            return self._current.target
        found = [target for path in self._files() if (target := _target_of(path.name)) is not None]
        return max(found, key=lambda target: target.round, default=None)

    async def open(self, target: Target) -> Partial:
        """The download of a state, taken up where it was left; what is kept of any other is gone."""
        if self._current is None or self._current.target != target:
            self._current = await asyncio.to_thread(self._read, target) if self._folder else None
        if self._current is None:
            self._current = Partial(target, self._fresh_vectors())
        return self._current

    async def keep(self, partial: Partial, index: int, data: Buffer) -> None:
        """Takes a verified piece: into its vector, and to the disk."""
        vector, chunk = divmod(index, self._run.grid.chunks)
        bounds = self._run.grid.bounds(chunk)
        partial.vectors[vector][bounds] = np.frombuffer(data, "<f4")
        partial.held.add(index)
        if self._folder is not None:
            offset = 4 * (vector * self._run.grid.elements + bounds.start)
            try:
                await asyncio.to_thread(_write_at, self._path(self._folder, partial.target), data, offset)
            except OSError as error:
                self._go_without(error)

    async def clear(self) -> None:
        """The state is complete and saved elsewhere."""
        self._current = None
        if self._folder is not None:
            await asyncio.to_thread(self._remove_all_but, None)

    def _read(self, target: Target) -> Partial | None:
        """What is on disk of this state; other downloads make way. None if there is nothing, or no disk."""
        assert self._folder is not None
        path = self._path(self._folder, target)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._remove_all_but(path)
            whole = np.zeros((1 + self._run.rule.vectors) * self._run.grid.elements, np.float32)
            # A file that ends early, or holds more than a state has, is read as far as it goes.
            with path.open("rb") as file:
                file.readinto(chunk_bytes(whole))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._go_without(error)
            return None
        return Partial(target, tuple(np.split(whole, 1 + self._run.rule.vectors)), is_from_disk=True)

    def _fresh_vectors(self) -> tuple[np.ndarray, ...]:
        return tuple(np.empty(self._run.grid.elements, np.float32) for _ in range(1 + self._run.rule.vectors))

    def _remove_all_but(self, kept: Path | None) -> None:
        for path in self._files():
            if path != kept and _target_of(path.name) is not None:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return list(self._folder.iterdir()) if self._folder is not None and self._folder.is_dir() else []

    @staticmethod
    def _path(folder: Path, target: Target) -> Path:
        return folder / f"{target.round:09d}-{target.state_digest.hex()}"

    def _go_without(self, error: OSError) -> None:
        self._say(f"cannot keep what is downloaded in {self._folder} ({error.strerror}): a restart begins it anew")
        self._folder = None


def _target_of(name: str) -> Target | None:
    """Which state a file is of, by its name; None for a file of somebody else's."""
    number, dash, digest = name.partition("-")
    if not (dash and number.isdecimal()):
        return None
    try:
        return Target(int(number), bytes.fromhex(digest))
    except ValueError:
        return None


def _write_at(path: Path, data: Buffer, offset: int) -> None:
    """Into the page cache, which is all that surviving SIGKILL takes."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        left = memoryview(data)
        while left:
            written = os.pwrite(descriptor, left, offset)
            left, offset = left[written:], offset + written
    finally:
        os.close(descriptor)
