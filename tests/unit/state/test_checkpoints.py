"""Checkpoints are written beside the rounds, the newest wins, and no instant of a crash loses a committed round."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from swarm import events
from swarm.errors import StateError
from swarm.state.checkpoints import MAX_LAG_ROUNDS, Checkpoints
from swarm.state.head import Head
from swarm.state.resume import resume
from swarm.state.run import Run
from swarm.state.store import KEPT_SNAPSHOTS, DiskStore, MemoryStore, Store
from swarm.state.tensors import safetensors_parts
from tests.simulation import peer_identity
from tests.unit.state.samples import ELEMENTS, MadeRound, keep, make_chain, small_charter

RUN = Run(small_charter())
CHAIN = make_chain(RUN, 4)
ME = peer_identity(0).peer_id
SOMEBODY_ELSE = peer_identity(50).peer_id
RESIDUAL_N = (np.random.default_rng(3).standard_normal(ELEMENTS) * 0.01).astype(np.float32)


class SlowStore(MemoryStore):
    """Takes a snapshot only when it is told to, and remembers which."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()
        self.taken: list[int] = []

    async def save_snapshot(self, round_number: int, vectors: object) -> None:
        await self.go_on.wait()
        self.taken.append(round_number)
        await super().save_snapshot(round_number, vectors)  # type: ignore[arg-type]


class FullStore(MemoryStore):
    """Refuses snapshots while it is full."""

    is_full = True

    async def save_snapshot(self, round_number: int, vectors: object) -> None:
        if self.is_full:
            raise StateError("cannot write snapshots: No space left on device")
        await super().save_snapshot(round_number, vectors)  # type: ignore[arg-type]


def played(store: Store, play: Callable[[Checkpoints], object], me: str = ME) -> list[events.AnyEvent]:
    """Runs `play` beside the writer; returns what it said."""
    said: list[events.AnyEvent] = []

    async def main() -> None:
        checkpoints = Checkpoints(RUN, me, store, said.append)  # type: ignore[arg-type]
        writing = asyncio.create_task(checkpoints.run())
        await play(checkpoints)  # type: ignore[misc]
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    asyncio.run(main())
    return said


def saved(store: Store, head: Head, residual_N: np.ndarray = RESIDUAL_N) -> list[events.AnyEvent]:
    async def play(checkpoints: Checkpoints) -> None:
        await checkpoints.keep(head, residual_N, 0)
        await checkpoints.finish()

    return played(store, play)


def left_over(store: Store, head: Head, me: str = ME) -> tuple[np.ndarray, list[str]]:
    said: list[events.AnyEvent] = []
    left = Checkpoints(RUN, me, store, said.append).left_over_at(head)  # type: ignore[arg-type]
    return left.residual_N, [event.text for event in said if isinstance(event, events.Note)]


@pytest.mark.parametrize("sizes", [(3,), (0, 5), (700, 700), (2_500_000, 1)])
def test_a_snapshot_written_in_pieces_is_a_safetensors_file(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    vectors = {f"v{n}": np.random.default_rng(n).standard_normal(size).astype("<f4") for n, size in enumerate(sizes)}
    path = tmp_path / "file"
    path.write_bytes(b"".join(safetensors_parts(vectors)))
    loaded = load_file(path)
    assert {name: vector.tobytes() for name, vector in loaded.items()} == {
        name: vector.tobytes() for name, vector in vectors.items()
    }


def test_keep_does_not_wait_for_the_disk_and_the_newest_wins() -> None:
    store: SlowStore

    async def play(checkpoints: Checkpoints) -> None:
        store.go_on = asyncio.Event()
        for made in CHAIN[:3]:
            await checkpoints.keep(made.after, RESIDUAL_N, 0)
            await asyncio.sleep(0)
        assert store.taken == []
        store.go_on.set()
        await checkpoints.finish()

    async def make() -> SlowStore:
        return SlowStore()

    store = asyncio.run(make())
    said = played(store, play)
    assert store.taken == [1, 3], "round 2 was overtaken while round 1 was being written"
    assert [event.round for event in said if isinstance(event, events.CheckpointSaved)] == [1, 3]


def test_a_residual_does_not_wait_for_a_checkpoint_that_is_being_written() -> None:
    """A kill in a long write would find the residual of the round before, which that round's update has used up."""

    async def main() -> None:
        store = SlowStore()
        checkpoints = Checkpoints(RUN, ME, store, lambda event: None)
        writing = asyncio.create_task(checkpoints.run())
        for made in CHAIN[:2]:
            await checkpoints.keep(made.after, RESIDUAL_N * made.after.round, 0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        residual_N, said = left_over(store, CHAIN[1].after)
        assert store.taken == [] and said == []
        assert np.allclose(residual_N, 2 * RESIDUAL_N, atol=0.02 * np.abs(RESIDUAL_N).max())
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    asyncio.run(main())


def test_rounds_wait_for_a_disk_that_falls_so_far_behind_that_their_results_would_be_pruned() -> None:
    async def main() -> None:
        store = SlowStore()
        checkpoints = Checkpoints(RUN, ME, store, lambda event: None)
        writing = asyncio.create_task(checkpoints.run())
        await checkpoints.keep(CHAIN[0].after, RESIDUAL_N, 0)
        await asyncio.sleep(0)
        far = replace(CHAIN[1].after, round=MAX_LAG_ROUNDS)
        waiting = asyncio.create_task(checkpoints.keep(far, RESIDUAL_N, 0))
        await asyncio.sleep(0.02)
        assert not waiting.done()
        store.go_on.set()
        await waiting
        await checkpoints.finish()
        assert store.taken == [1, MAX_LAG_ROUNDS]
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    asyncio.run(main())


def test_a_refused_checkpoint_is_said_and_the_next_one_is_tried() -> None:
    store = FullStore()
    asyncio.run(MemoryStore.save_snapshot(store, 0, (CHAIN[0].before.base_N,)))

    async def play(checkpoints: Checkpoints) -> None:
        await checkpoints.keep(CHAIN[0].after, RESIDUAL_N, 0)
        await checkpoints.finish()
        store.is_full = False
        await checkpoints.keep(CHAIN[1].after, RESIDUAL_N, 0)
        await checkpoints.finish()

    failed, done = played(store, play)
    assert failed == events.CheckpointFailed(
        round=1, reason="cannot write snapshots: No space left on device", newest=0
    )
    assert isinstance(done, events.CheckpointSaved) and done.round == 2
    assert store.snapshots() == [2, 0]


@pytest.mark.parametrize("kept", [1, 2, 5])
def test_as_many_checkpoints_stay_as_were_asked_for(tmp_path: Path, kept: int) -> None:
    store = DiskStore(tmp_path, kept_snapshots=kept)
    for made in CHAIN:
        saved(store, made.after)
    assert len(store.snapshots()) == min(kept, len(CHAIN))
    assert store.snapshots()[0] == CHAIN[-1].after.round
    assert KEPT_SNAPSHOTS == 2, "the default, as the documents say"


# --- the residual -----------------------------------------------------------------------------------------------------


def test_the_residual_comes_back_within_a_hundredth_and_is_the_owners_alone(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    saved(store, CHAIN[1].after)
    residual_N, said = left_over(store, CHAIN[1].after)
    assert said == []
    assert np.sqrt(np.mean((residual_N - RESIDUAL_N) ** 2)) < 0.01 * np.sqrt(np.mean(RESIDUAL_N**2))
    assert (tmp_path / "residual").stat().st_mode & 0o077 == 0
    assert (tmp_path / "residual").stat().st_size < RESIDUAL_N.nbytes / 3


def test_a_late_update_that_came_into_the_residual_is_on_disk_with_its_tokens(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)

    async def play(checkpoints: Checkpoints) -> None:
        await checkpoints.keep(CHAIN[1].after, RESIDUAL_N, 0)
        await checkpoints.keep_residual(2, RESIDUAL_N * 3, 70)
        await checkpoints.finish()

    played(store, play)
    left = Checkpoints(RUN, ME, store, lambda _: None).left_over_at(CHAIN[1].after)
    assert (left.round, left.carried_tokens) == (2, 70)
    assert np.allclose(left.residual_N, 3 * RESIDUAL_N, atol=0.03 * np.abs(RESIDUAL_N).max())


def test_without_a_residual_it_is_zeros_and_nothing_is_said(tmp_path: Path) -> None:
    residual_N, said = left_over(DiskStore(tmp_path), CHAIN[0].after)
    assert not residual_N.any() and residual_N.shape == (ELEMENTS,) and said == []


@pytest.mark.parametrize("at", [0, 9, 45, -1])
def test_a_damaged_residual_is_dropped_and_said(tmp_path: Path, at: int) -> None:
    store = DiskStore(tmp_path)
    saved(store, CHAIN[1].after)
    data = bytearray((tmp_path / "residual").read_bytes())
    data[at] ^= 0x40
    (tmp_path / "residual").write_bytes(data)
    residual_N, said = left_over(store, CHAIN[1].after)
    assert not residual_N.any() and len(said) == 1
    (tmp_path / "residual").write_bytes(data[:-1])
    residual_N, said = left_over(store, CHAIN[1].after)
    assert not residual_N.any() and "damaged" in said[0]


def test_a_residual_is_used_on_a_later_round_only_if_this_peer_was_not_in_the_rounds_between(tmp_path: Path) -> None:
    """Whoever was in a roster may have been counted, and its residual with it; who missed the round still has it."""
    store = DiskStore(tmp_path)
    for made in CHAIN[:3]:
        asyncio.run(keep(store, made, snapshot=False))
    saved(store, CHAIN[1].after)
    assert left_over(store, CHAIN[2].after, SOMEBODY_ELSE)[0].any()
    residual_N, said = left_over(store, CHAIN[2].after)
    assert not residual_N.any() and "round 2" in said[0] and "round 3" in said[0]
    assert not left_over(store, CHAIN[3].after, SOMEBODY_ELSE)[0].any(), "no record of round 4 is here to ask"
    assert not left_over(store, CHAIN[0].after)[0].any(), "nor can it be from the future"


def test_what_no_codec_takes_is_not_saved(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    (done,) = saved(store, CHAIN[0].after, np.full(ELEMENTS, np.nan, np.float32))
    assert isinstance(done, events.CheckpointSaved)
    assert store.load_residual() is None


# --- crashes and full disks -------------------------------------------------------------------------------------------


class KilledError(BaseException):
    """The process ends here: nothing that it would still have done happens."""


class Killer:
    """Ends a process before its operation number `at` on the disk, and answers every later one the same way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self._left = at
        self.has_struck = False
        for owner, name in ((os, "open"), (os, "fsync"), (os, "fdopen"), (Path, "rename"), (Path, "unlink")):
            monkeypatch.setattr(owner, name, self._counting(getattr(owner, name)))

    def _counting(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **more: object) -> object:
            self._left -= 1
            if self._left < 0:
                self.has_struck = True
                raise KilledError
            return real(*args, **more)

        return call


def live(folder: Path, rounds: list[MadeRound], committed: list[int]) -> None:
    """A peer's disk through some rounds, each followed by its checkpoint; `committed` is what it acted on."""
    store = DiskStore(folder)

    async def main() -> None:
        said: list[events.AnyEvent] = []
        checkpoints = Checkpoints(RUN, ME, store, said.append)
        writing = asyncio.create_task(checkpoints.run())
        for made in rounds:
            await store.save_results(made.value.round, made.digest, made.results)
            await store.save_acceptor(b"vote %d" % made.value.round)
            await store.save_record(made.value.round, made.record)
            committed.append(made.value.round)
            await checkpoints.keep(made.after, RESIDUAL_N, 0)
            resting = asyncio.create_task(checkpoints.finish())
            await asyncio.wait((resting, writing), return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    asyncio.run(main())


def test_killed_at_any_instant_the_last_committed_round_is_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every operation on the disk in two rounds is once the one before which the process is killed."""
    instants = 0
    while True:
        folder = tmp_path / str(instants)
        asyncio.run(DiskStore(folder).save_snapshot(0, (CHAIN[0].before.base_N, *CHAIN[0].before.outer_VN)))
        committed = [0]
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda descriptor: None)  # a kill loses nothing that was written
            killer = Killer(patch, instants)
            with suppress(KilledError):
                live(folder, CHAIN[:2], committed)
        head = asyncio.run(resume(RUN, DiskStore(folder), lambda text: None))
        assert head is not None, instants
        assert committed[-1] <= head.round <= committed[-1] + 1, (instants, committed, head.round)
        wanted = CHAIN[0].before if head.round == 0 else CHAIN[head.round - 1].after
        assert head.state_digest == wanted.state_digest and head.base_N.tobytes() == wanted.base_N.tobytes()
        assert not list(folder.glob("**/*.new")), "what a crash left half written is removed"
        if not killer.has_struck:
            break
        instants += 1
    assert instants > 40, "fewer operations than there must be"


_FILL = """
import asyncio, sys
from pathlib import Path
from swarm.errors import StateError
from swarm.state.resume import resume
from swarm.state.store import DiskStore
from tests.unit.state.test_checkpoints import CHAIN, RUN, saved
from tests.unit.state.samples import keep

folder = Path(sys.argv[1])
store = DiskStore(folder)
asyncio.run(keep(store, CHAIN[0]))
with (folder / "ballast").open("wb", buffering=0) as file:
    try:
        while file.write(bytes(512)):
            pass
    except OSError as error:
        print(error.strerror)
failed, said = sorted(saved(store, CHAIN[1].after), key=lambda event: type(event).__name__)
print(failed.newest, failed.reason)
print(said.text)
try:
    asyncio.run(store.save_acceptor(b"vote" * 2000))
except StateError as error:
    print(error)
head = asyncio.run(resume(RUN, DiskStore(folder), print))
print(head.round)
(folder / "ballast").unlink()
(done,) = saved(DiskStore(folder), CHAIN[1].after)
print(type(done).__name__, done.round)
"""


def test_on_a_disk_that_is_really_full_the_checkpoint_before_stays(tmp_path: Path) -> None:
    """A small file system in memory, in a mount namespace of its own, filled to the last block."""
    mount = 'mount -t tmpfs -o size=256k none "$1" && exec "$2" -c "$0" "$1/state"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, _FILL, str(tmp_path), sys.executable],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    full, failed, residual, vote, head, after = done.stdout.splitlines()
    assert full == "No space left on device"
    assert failed.startswith("1 cannot write") and failed.endswith("No space left on device")
    assert "not saved: cannot write" in residual and residual.endswith("No space left on device")
    assert vote.startswith("cannot write") and vote.endswith("acceptor: No space left on device")
    assert head == "1"
    assert after == "CheckpointSaved 2"
