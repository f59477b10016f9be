"""What a peer keeps on disk, and the same in memory for simulations.

    STATE/acceptor              promises and votes of the open round; rewritten atomically, synced before a vote is sent
    STATE/restarts              the founders' restarts this peer has taken last (swarm.state.restarts)
    STATE/governance/*          amendments and revocations, one per file (swarm.state.shelf)
    STATE/records/000007        commit record of round 7
    STATE/results/000007-ab12   encoded results of a value of round 7, in grid order; the last KEPT_ROUNDS rounds, and
                                all since the newest snapshot, or of all rounds with `tapestry peer --archive`
    STATE/snapshots/000007      base and outer-optimiser state after round 7 (safetensors); the last two, or as many as
                                `tapestry peer --checkpoints` says
    STATE/residual              what of this peer's updates was not delivered yet (swarm.state.checkpoints)
    STATE/spent                 the last round in which this peer revealed a self-mask (swarm.round.secure)

Nothing is overwritten in place: files are written beside, synced, renamed. What cannot be read, or belongs to a chain
that was left, is set aside as NAME.damaged: records for ever, snapshots the newest KEPT_ASIDE. Nothing here reads it.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from swarm.charter.epochs import MAX_DOCUMENT_BYTES
from swarm.errors import StateError
from swarm.state.disk import read_file, remove_half_written, told, write_file
from swarm.state.tensors import safetensors_parts
from swarm.vector.bounds import Buffer

KEPT_ROUNDS = 8
KEPT_SNAPSHOTS = 2
"""One to use, and the one before it if that turns out to be damaged."""
KEPT_ASIDE = 2
"""Snapshots set aside that stay: a run that parts again and again would fill the disk with them."""
_ASIDE = ".damaged"
_OWNER_ONLY = 0o600


class Store(Protocol):
    """Durable storage of one peer in one run. `save_*` return when a crash can no longer lose it."""

    keeps_residual: bool
    """Whether `save_residual` is worth the work of encoding one."""

    def load_acceptor(self) -> bytes | None: ...
    async def save_acceptor(self, data: bytes) -> None: ...
    def load_restarts(self) -> bytes | None: ...
    async def save_restarts(self, data: bytes) -> None: ...
    def load_documents(self) -> Sequence[bytes]:
        """Governance documents, those that were put there by hand included."""
        ...

    async def save_document(self, name: str, data: bytes) -> None: ...
    def load_record(self, round_number: int) -> bytes | None: ...
    async def save_record(self, round_number: int, data: bytes) -> None: ...
    async def save_results(self, round_number: int, digest: bytes, results: Sequence[Buffer]) -> None: ...
    def load_result(self, round_number: int, digest: bytes, offset: int, length: int) -> bytes | None:
        """Bytes of one chunk of a saved value, or None if it is not here."""
        ...

    async def save_snapshot(self, round_number: int, vectors: Sequence[np.ndarray]) -> None: ...
    def snapshots(self) -> Sequence[int]:
        """Rounds with a snapshot, newest first."""
        ...

    def load_snapshot(self, round_number: int) -> tuple[np.ndarray, ...] | None: ...
    async def fetch_snapshot(self, round_number: int) -> tuple[np.ndarray, ...] | None:
        """As `load_snapshot`, without holding up the event loop."""
        ...

    def set_aside_snapshot(self, round_number: int) -> None:
        """A snapshot that is not what it should be makes way for a good one; the newest are kept under other names."""
        ...

    def set_aside_record(self, round_number: int) -> None:
        """The same for a record; all are kept."""
        ...

    async def save_residual(self, parts: Sequence[Buffer]) -> None: ...
    def load_residual(self) -> bytes | None: ...
    async def save_spent(self, round_number: int) -> None: ...
    def load_spent(self) -> int:
        """The last round in which this peer revealed a self-mask (swarm.round.secure); 0 if there was none."""
        ...


class DiskStore:
    """A store in a folder. Every error of the disk is a StateError that names the file."""

    keeps_residual = True

    def __init__(
        self,
        folder: Path,
        *,
        kept_snapshots: int = KEPT_SNAPSHOTS,
        archive: bool = False,
        read_only: bool = False,
    ) -> None:
        """Opens or makes the folder; to read, it is taken as it lies, for its peer may be at work in it.

        An archive keeps the results of all rounds, and state 0: with both, a run can be replayed from its beginning.

        Raises:
            StateError: it cannot be written.
        """
        assert kept_snapshots >= 1, kept_snapshots
        self.folder = folder
        self._kept_snapshots = kept_snapshots
        self._archive = archive
        if read_only:
            return
        try:
            for name in ("governance", "records", "results", "snapshots"):
                (folder / name).mkdir(parents=True, exist_ok=True)
                remove_half_written(folder / name)
            remove_half_written(folder)
        except OSError as error:
            raise StateError(f"cannot use the state folder {folder}: {error.strerror}") from None

    def load_acceptor(self) -> bytes | None:
        return read_file(self.folder / "acceptor")

    async def save_acceptor(self, data: bytes) -> None:
        await write_file(self.folder / "acceptor", [data])

    def load_restarts(self) -> bytes | None:
        return read_file(self.folder / "restarts")

    async def save_restarts(self, data: bytes) -> None:
        await write_file(self.folder / "restarts", [data])

    def load_documents(self) -> Sequence[bytes]:
        folder = self.folder / "governance"
        with told(folder):
            paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.endswith(".new"))
            paths = [path for path in paths if path.stat().st_size <= MAX_DOCUMENT_BYTES]
        return [data for path in paths if (data := read_file(path)) is not None]

    async def save_document(self, name: str, data: bytes) -> None:
        await write_file(self.folder / "governance" / name, [data])

    def load_record(self, round_number: int) -> bytes | None:
        return read_file(self.folder / "records" / _name(round_number))

    async def save_record(self, round_number: int, data: bytes) -> None:
        await write_file(self.folder / "records" / _name(round_number), [data])

    async def save_results(self, round_number: int, digest: bytes, results: Sequence[Buffer]) -> None:
        await write_file(self._results_path(round_number, digest), results)
        if self._archive:
            return
        oldest = _name(_oldest_kept(round_number, self.snapshots()))
        with told(self.folder / "results"):
            for path in (self.folder / "results").iterdir():
                if path.name < oldest:
                    path.unlink(missing_ok=True)

    def load_result(self, round_number: int, digest: bytes, offset: int, length: int) -> bytes | None:
        try:
            with self._results_path(round_number, digest).open("rb") as file:
                file.seek(offset)
                data = file.read(length)
        except OSError:
            return None
        return data if len(data) == length else None

    async def save_snapshot(self, round_number: int, vectors: Sequence[np.ndarray]) -> None:
        tensors = {_vector_name(number): vector for number, vector in enumerate(vectors)}
        await write_file(self.folder / "snapshots" / _name(round_number), safetensors_parts(tensors))
        with told(self.folder / "snapshots"):
            for old in self.snapshots()[self._kept_snapshots :]:
                if old == 0 and self._archive:
                    continue
                (self.folder / "snapshots" / _name(old)).unlink(missing_ok=True)

    def snapshots(self) -> Sequence[int]:
        return snapshot_rounds(self.folder)

    def load_snapshot(self, round_number: int) -> tuple[np.ndarray, ...] | None:
        try:
            tensors = load_file(self.folder / "snapshots" / _name(round_number))
            return tuple(tensors[_vector_name(number)] for number in range(len(tensors)))
        except (OSError, SafetensorError, KeyError):
            return None

    async def fetch_snapshot(self, round_number: int) -> tuple[np.ndarray, ...] | None:
        return await asyncio.to_thread(self.load_snapshot, round_number)

    def set_aside_snapshot(self, round_number: int) -> None:
        _set_aside(self.folder / "snapshots" / _name(round_number))
        _remove_old_aside(self.folder / "snapshots")

    def set_aside_record(self, round_number: int) -> None:
        _set_aside(self.folder / "records" / _name(round_number))

    async def save_residual(self, parts: Sequence[Buffer]) -> None:
        # For the owner only: unlike a base it comes from this peer's data alone.
        await write_file(self.folder / "residual", parts, mode=_OWNER_ONLY)

    def load_residual(self) -> bytes | None:
        return read_file(self.folder / "residual")

    async def save_spent(self, round_number: int) -> None:
        await write_file(self.folder / "spent", [str(round_number).encode()])

    def load_spent(self) -> int:
        data = read_file(self.folder / "spent") or b"0"
        if not data.isdigit():
            raise StateError(f"{self.folder / 'spent'} is corrupted: it says which update may not be sent again")
        return int(data)

    def drop_residual(self) -> None:
        """Forgets it, with the data it was made from. Raises StateError."""
        with told(self.folder / "residual"):
            (self.folder / "residual").unlink(missing_ok=True)

    def _results_path(self, round_number: int, digest: bytes) -> Path:
        return self.folder / "results" / f"{_name(round_number)}-{digest.hex()[:32]}"


def snapshot_rounds(folder: Path) -> Sequence[int]:
    """Rounds with a snapshot in a state folder, whether or not it is opened as a store, newest first. StateError."""
    return _rounds(folder / "snapshots")


def result_rounds(folder: Path) -> Sequence[int]:
    """Rounds with results in a state folder, newest first. Raises StateError."""
    return _rounds(folder / "results")


def _rounds(folder: Path) -> Sequence[int]:
    with told(folder):
        names = [path.name.partition("-")[0] for path in folder.iterdir()] if folder.exists() else []
    return sorted({int(name) for name in names if name.isdecimal()}, reverse=True)


class MemoryStore:
    """A store that survives the death of a simulated peer, because the test keeps it."""

    keeps_residual = True

    def __init__(self) -> None:
        self._residual: bytes | None = None
        self._spent = 0
        self._acceptor: bytes | None = None
        self._restarts: bytes | None = None
        self._documents: dict[str, bytes] = {}
        self._records: dict[int, bytes] = {}
        self._results: dict[tuple[int, bytes], bytes] = {}
        self._snapshots: dict[int, tuple[np.ndarray, ...]] = {}

    def load_acceptor(self) -> bytes | None:
        return self._acceptor

    async def save_acceptor(self, data: bytes) -> None:
        self._acceptor = data

    def load_restarts(self) -> bytes | None:
        return self._restarts

    async def save_restarts(self, data: bytes) -> None:
        self._restarts = data

    def load_documents(self) -> Sequence[bytes]:
        return list(self._documents.values())

    async def save_document(self, name: str, data: bytes) -> None:
        self._documents[name] = data

    def load_record(self, round_number: int) -> bytes | None:
        return self._records.get(round_number)

    async def save_record(self, round_number: int, data: bytes) -> None:
        self._records[round_number] = data

    async def save_results(self, round_number: int, digest: bytes, results: Sequence[Buffer]) -> None:
        self._results[round_number, digest] = b"".join(results)
        oldest = _oldest_kept(round_number, self.snapshots())
        for key in [key for key in self._results if key[0] < oldest]:
            del self._results[key]

    def load_result(self, round_number: int, digest: bytes, offset: int, length: int) -> bytes | None:
        data = self._results.get((round_number, digest))
        return None if data is None else data[offset : offset + length]

    async def save_snapshot(self, round_number: int, vectors: Sequence[np.ndarray]) -> None:
        self._snapshots[round_number] = tuple(vector.copy() for vector in vectors)
        for old in self.snapshots()[KEPT_SNAPSHOTS:]:
            del self._snapshots[old]

    def snapshots(self) -> Sequence[int]:
        return sorted(self._snapshots, reverse=True)

    def load_snapshot(self, round_number: int) -> tuple[np.ndarray, ...] | None:
        return self._snapshots.get(round_number)

    async def fetch_snapshot(self, round_number: int) -> tuple[np.ndarray, ...] | None:
        return self.load_snapshot(round_number)

    def set_aside_snapshot(self, round_number: int) -> None:
        self._snapshots.pop(round_number, None)

    def set_aside_record(self, round_number: int) -> None:
        self._records.pop(round_number, None)

    async def save_residual(self, parts: Sequence[Buffer]) -> None:
        self._residual = b"".join(parts)

    def load_residual(self) -> bytes | None:
        return self._residual

    async def save_spent(self, round_number: int) -> None:
        self._spent = round_number

    def load_spent(self) -> int:
        return self._spent


def _oldest_kept(round_number: int, snapshots: Sequence[int]) -> int:
    """The first round whose results stay once those of `round_number` are here.

    Others may ask for the last few. Where no checkpoint could be written for longer, a restart needs all since the
    newest one: without them nobody could tell any more what was committed, if everybody's disk was full.
    """
    newest = next(iter(snapshots), round_number)
    return min(round_number - KEPT_ROUNDS, newest + 1)


def _name(round_number: int) -> str:
    return f"{max(round_number, 0):09d}"


def _vector_name(number: int) -> str:
    return "base" if number == 0 else f"outer.{number - 1}"


def _set_aside(path: Path) -> None:
    with told(path):
        if path.exists():
            path.rename(path.with_name(f"{path.name}{_ASIDE}"))


def _remove_old_aside(folder: Path) -> None:
    """Leaves those written last."""
    with told(folder):
        aside = [path for path in folder.glob(f"*{_ASIDE}") if path.stem.isdecimal()]
        for path in sorted(aside, key=lambda path: (path.stat().st_mtime, path.name), reverse=True)[KEPT_ASIDE:]:
            path.unlink(missing_ok=True)
