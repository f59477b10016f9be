"""A simulated machine's disk: takes time, dies with its process, and remembers what was ever promised on it.

`Disk` outlives processes. `Mount` is one process's handle on it: once `die` was called, nothing that is left of the
process reaches the disk any more, as after SIGKILL.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from swarm.round.acceptor import AcceptorState
from swarm.state.store import MemoryStore


@dataclass
class Disk:
    """What survives, and a journal of it for the checks."""

    files: MemoryStore = field(default_factory=MemoryStore)
    promises: list[AcceptorState] = field(default_factory=list[AcceptorState])
    """Every state of the acceptor that was ever written, in order."""
    results: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict[bytes, tuple[bytes, ...]])
    """Every set of results that was ever written, by value digest; `files` forgets old ones."""


class Mount:
    """A `swarm.state.store.Store`. `on_write` runs before each write and after it: a test may kill the peer there."""

    keeps_residual = True

    def __init__(self, disk: Disk, write_s: Callable[[], float], on_write: Callable[[], None]) -> None:
        self._disk = disk
        self._write_s = write_s
        self._on_write = on_write
        self._is_dead = False

    def die(self) -> None:
        self._is_dead = True

    def load_acceptor(self) -> bytes | None:
        return self._disk.files.load_acceptor()

    async def save_acceptor(self, data: bytes) -> None:
        await self._before()
        self._disk.promises.append(msgspec.msgpack.decode(data, type=AcceptorState))
        await self._disk.files.save_acceptor(data)
        self._after()

    def load_restarts(self) -> bytes | None:
        return self._disk.files.load_restarts()

    async def save_restarts(self, data: bytes) -> None:
        await self._before()
        await self._disk.files.save_restarts(data)
        self._after()

    def load_documents(self) -> Sequence[bytes]:
        return self._disk.files.load_documents()

    async def save_document(self, name: str, data: bytes) -> None:
        await self._before()
        await self._disk.files.save_document(name, data)
        self._after()

    def load_record(self, round_number: int) -> bytes | None:
        return self._disk.files.load_record(round_number)

    async def save_record(self, round_number: int, data: bytes) -> None:
        await self._before()
        await self._disk.files.save_record(round_number, data)
        self._after()

    async def save_results(self, round_number: int, digest: bytes, results: Sequence[bytes]) -> None:
        await self._before()
        self._disk.results[digest] = tuple(results)
        await self._disk.files.save_results(round_number, digest, results)
        self._after()

    def load_result(self, round_number: int, digest: bytes, offset: int, length: int) -> bytes | None:
        return self._disk.files.load_result(round_number, digest, offset, length)

    async def save_snapshot(self, round_number: int, vectors: Sequence[np.ndarray]) -> None:
        await self._before()
        await self._disk.files.save_snapshot(round_number, vectors)
        self._after()

    def snapshots(self) -> Sequence[int]:
        return self._disk.files.snapshots()

    def load_snapshot(self, round_number: int) -> tuple[np.ndarray, ...] | None:
        return self._disk.files.load_snapshot(round_number)

    async def fetch_snapshot(self, round_number: int) -> tuple[np.ndarray, ...] | None:
        return self.load_snapshot(round_number)

    async def save_residual(self, parts: Sequence[bytes]) -> None:
        await self._before()
        await self._disk.files.save_residual(parts)
        self._after()

    def load_residual(self) -> bytes | None:
        return self._disk.files.load_residual()

    async def save_spent(self, round_number: int) -> None:
        await self._before()
        await self._disk.files.save_spent(round_number)
        self._after()

    def load_spent(self) -> int:
        return self._disk.files.load_spent()

    def set_aside_snapshot(self, round_number: int) -> None:
        self._write_now(lambda: self._disk.files.set_aside_snapshot(round_number))

    def set_aside_record(self, round_number: int) -> None:
        self._write_now(lambda: self._disk.files.set_aside_record(round_number))

    def _write_now(self, write: Callable[[], None]) -> None:
        self._on_write()
        self._stop_if_dead()
        write()
        self._after()

    async def _before(self) -> None:
        self._on_write()
        self._stop_if_dead()
        await asyncio.sleep(self._write_s())
        self._stop_if_dead()

    def _after(self) -> None:
        self._on_write()
        self._stop_if_dead()

    def _stop_if_dead(self) -> None:
        if self._is_dead:
            raise asyncio.CancelledError
