"""The state folder: a crash leaves the old file or the new one, and every refusal of the disk is a StateError."""

import asyncio
import errno
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.errors import StateError
from swarm.state.store import KEPT_ROUNDS, KEPT_SNAPSHOTS, DiskStore, MemoryStore, Store

VECTORS = (np.arange(10, dtype=np.float32), np.zeros(10, np.float32))
DIGEST = bytes(range(32))


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return DiskStore(tmp_path / "state") if request.param == "disk" else MemoryStore()


def test_an_empty_store_holds_nothing(store: Store) -> None:
    assert store.load_acceptor() is None
    assert store.load_record(1) is None
    assert store.load_result(1, DIGEST, 0, 4) is None
    assert store.load_snapshot(0) is None
    assert list(store.snapshots()) == []


def test_what_was_saved_comes_back(store: Store) -> None:
    async def save() -> None:
        await store.save_acceptor(b"one")
        await store.save_acceptor(b"two")
        await store.save_record(7, b"record")
        await store.save_results(7, DIGEST, [b"abc", b"de"])
        await store.save_snapshot(7, VECTORS)

    asyncio.run(save())
    assert store.load_acceptor() == b"two"
    assert store.load_record(7) == b"record"
    assert store.load_result(7, DIGEST, 3, 2) == b"de"
    assert store.load_result(7, bytes(32), 3, 2) is None
    loaded = store.load_snapshot(7)
    assert loaded is not None
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(loaded, VECTORS, strict=True))


def test_old_results_and_snapshots_go_records_stay(store: Store) -> None:
    async def save() -> None:
        for number in range(1, KEPT_ROUNDS + 4):
            await store.save_record(number, b"r")
            await store.save_results(number, DIGEST, [b"abc"])
            await store.save_snapshot(number, VECTORS)

    asyncio.run(save())
    last = KEPT_ROUNDS + 3
    assert list(store.snapshots()) == list(range(last, last - KEPT_SNAPSHOTS, -1))
    assert store.load_result(last - KEPT_ROUNDS, DIGEST, 0, 3) == b"abc"
    assert store.load_result(last - KEPT_ROUNDS - 1, DIGEST, 0, 3) is None
    assert all(store.load_record(number) == b"r" for number in range(1, last + 1))


def test_results_since_the_newest_snapshot_stay_however_long_no_other_could_be_written(store: Store) -> None:
    async def save(numbers: range) -> None:
        for number in numbers:
            await store.save_results(number, DIGEST, [b"abc"])

    asyncio.run(store.save_snapshot(3, VECTORS))
    asyncio.run(save(range(1, 3 * KEPT_ROUNDS)))
    there = [number for number in range(3 * KEPT_ROUNDS) if store.load_result(number, DIGEST, 0, 3) is not None]
    assert there == list(range(4, 3 * KEPT_ROUNDS))
    asyncio.run(store.save_snapshot(2 * KEPT_ROUNDS, VECTORS))
    asyncio.run(save(range(3 * KEPT_ROUNDS, 3 * KEPT_ROUNDS + 1)))
    assert store.load_result(2 * KEPT_ROUNDS - 1, DIGEST, 0, 3) is None
    assert store.load_result(2 * KEPT_ROUNDS, DIGEST, 0, 3) == b"abc"


def test_a_file_half_written_by_a_crash_is_never_taken_for_the_real_one(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    asyncio.run(store.save_acceptor(b"old"))
    asyncio.run(store.save_snapshot(3, VECTORS))
    for name in ("acceptor.new", "records/000000004.new", "snapshots/000000004.new", "results/000000004-ab.new"):
        (tmp_path / name).write_bytes(b"hal")
    again = DiskStore(tmp_path)
    assert again.load_acceptor() == b"old"
    assert again.load_record(4) is None
    assert list(again.snapshots()) == [3]
    asyncio.run(again.save_acceptor(b"new"))
    assert again.load_acceptor() == b"new" and not (tmp_path / "acceptor.new").exists()


WRITES: list[Callable[[DiskStore], Awaitable[None]]] = [
    lambda store: store.save_acceptor(b"new"),
    lambda store: store.save_record(1, b"new"),
    lambda store: store.save_results(1, DIGEST, [b"new"]),
    lambda store: store.save_snapshot(1, VECTORS),
]


@pytest.mark.parametrize("write", WRITES, ids=["acceptor", "record", "results", "snapshot"])
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_full_disk_is_a_state_error_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[DiskStore], Awaitable[None]], call: str
) -> None:
    store = DiskStore(tmp_path)
    asyncio.run(store.save_acceptor(b"old"))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def refuse(*_: object) -> None:
        raise full

    if call == "write":
        monkeypatch.setattr(os, "open", refuse)
    elif call == "fsync":
        monkeypatch.setattr(os, "fsync", refuse)
    else:
        monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StateError, match="No space left"):
        asyncio.run(_done(write(store)))
    monkeypatch.undo()
    assert store.load_acceptor() == b"old"
    assert store.load_record(1) is None and list(store.snapshots()) == []


async def _done(work: Awaitable[None]) -> None:
    await work


def test_a_device_without_space_is_a_state_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full opens well and refuses every byte, as a full disk does."""
    monkeypatch.setattr("swarm.state.disk._WRITES", iter([7]))
    store = DiskStore(tmp_path)
    (tmp_path / "acceptor.7.new").symlink_to("/dev/full")
    with pytest.raises(StateError, match="No space left"):
        asyncio.run(store.save_acceptor(b"new"))
    assert store.load_acceptor() is None


def test_a_folder_that_cannot_be_used_is_a_state_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StateError, match="cannot use the state folder"):
        DiskStore(tmp_path / "file")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "records").write_text("not a folder")
    with pytest.raises(StateError, match="cannot use the state folder"):
        DiskStore(tmp_path / "half")


def test_a_file_that_cannot_be_read_is_a_state_error(tmp_path: Path) -> None:
    """Not the same as one that is not there: what this peer has voted for must not look like nothing."""
    store = DiskStore(tmp_path)
    (tmp_path / "acceptor").mkdir()
    (tmp_path / "records" / "000000001").mkdir()
    with pytest.raises(StateError, match="acceptor"):
        store.load_acceptor()
    with pytest.raises(StateError, match="000000001"):
        store.load_record(1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 260), flip=st.integers(0, 260))
def test_a_damaged_snapshot_is_none_or_vectors_never_an_error(tmp_path: Path, cut: int, flip: int) -> None:
    store = DiskStore(tmp_path)
    asyncio.run(store.save_snapshot(1, VECTORS))
    path = tmp_path / "snapshots" / "000000001"
    data = bytearray(path.read_bytes())
    data[flip % len(data)] ^= 1
    path.write_bytes(data[:cut] if cut < len(data) else data)
    loaded = store.load_snapshot(1)
    assert loaded is None or all(isinstance(vector, np.ndarray) for vector in loaded)


def test_a_write_that_was_cancelled_does_not_spoil_the_one_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled task's write goes on in its thread, while the same file is written again."""
    store = DiskStore(tmp_path)
    first_is_in, second_is_in, first_is_out = threading.Event(), threading.Event(), threading.Event()
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        if not first_is_in.is_set():
            first_is_in.set()
            assert second_is_in.wait(10)
        elif not second_is_in.is_set():
            second_is_in.set()
            assert first_is_out.wait(10)
        real_fsync(descriptor)

    def rename(path: Path, target: Path) -> Path:
        try:
            return real_rename(path, target)
        finally:
            first_is_out.set()

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)

    async def main() -> None:
        first = asyncio.create_task(store.save_record(1, b"first" * 100))
        await asyncio.to_thread(first_is_in.wait, 10)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await store.save_record(1, b"second")

    asyncio.run(main())
    assert store.load_record(1) == b"second"


def test_only_the_newest_snapshots_set_aside_stay_and_every_record_does(tmp_path: Path) -> None:
    async def main() -> None:
        store = DiskStore(tmp_path)
        for number in range(6, 0, -1):
            await store.save_record(number, b"record")
            await store.save_snapshot(number, (np.full(2, number, np.float32),))
            os.utime(tmp_path / "snapshots" / f"{number:09d}", (100 - number, 100 - number))  # 1 was written last
            store.set_aside_record(number)
            store.set_aside_snapshot(number)
        await store.save_snapshot(1, (np.ones(2, np.float32),))
        assert store.snapshots() == [1]
        names = sorted(os.listdir(tmp_path / "snapshots"))
        assert names == ["000000001", "000000001.damaged", "000000002.damaged"]
        assert len(os.listdir(tmp_path / "records")) == 6

    asyncio.run(main())


def test_what_was_set_aside_under_the_same_name_or_by_hand_is_no_hindrance(tmp_path: Path) -> None:
    async def main() -> None:
        store = DiskStore(tmp_path)
        (tmp_path / "snapshots" / "mine.damaged").mkdir()
        for _ in range(3):
            await store.save_snapshot(1, (np.ones(2, np.float32),))
            store.set_aside_snapshot(1)
            store.set_aside_snapshot(1)
        assert sorted(os.listdir(tmp_path / "snapshots")) == ["000000001.damaged", "mine.damaged"]

    asyncio.run(main())
