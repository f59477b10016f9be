"""Back from a state folder to a head: only what its own records prove, from the newest snapshot that is whole."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from swarm.net import wire
from swarm.state.head import Head
from swarm.state.records import Record
from swarm.state.resume import resume, state_zero
from swarm.state.run import Run
from swarm.state.store import DiskStore, MemoryStore, Store
from tests.simulation import base_zero, make_charter
from tests.unit.state.samples import ELEMENTS, keep, make_chain, small_charter, zero_head

RUN = Run(small_charter())
CHAIN = make_chain(RUN, 3)


def filled(store: Store, *, through: int = 3, snapshots: tuple[int, ...] = (0, 2, 3)) -> Store:
    async def fill() -> None:
        if 0 in snapshots:
            await store.save_snapshot(0, (CHAIN[0].before.base_N, *CHAIN[0].before.outer_VN))
        for made in CHAIN[:through]:
            await keep(store, made, snapshot=made.value.round in snapshots)

    asyncio.run(fill())
    return store


def resumed(store: Store, run: Run = RUN) -> tuple[Head | None, list[str]]:
    said: list[str] = []
    return asyncio.run(resume(run, store, said.append)), said


def assert_is(head: Head | None, wanted: Head) -> None:
    assert head is not None
    assert (head.round, head.record_digest, head.state_digest) == (
        wanted.round,
        wanted.record_digest,
        wanted.state_digest,
    )
    assert head.electorate == wanted.electorate
    for one, other in zip((head.base_N, *head.outer_VN), (wanted.base_N, *wanted.outer_VN), strict=True):
        assert one.tobytes() == other.tobytes()


def damage(path: Path, *, at: int = -5) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_nothing_is_resumed_from_nothing() -> None:
    assert resumed(MemoryStore()) == (None, [])


def test_the_newest_snapshot_is_the_head() -> None:
    head, said = resumed(filled(MemoryStore()))
    assert_is(head, CHAIN[2].after)
    assert said == []


def test_rounds_after_the_snapshot_are_replayed_from_their_results() -> None:
    head, _ = resumed(filled(MemoryStore(), snapshots=(0,)))
    assert_is(head, CHAIN[2].after)


def test_a_damaged_snapshot_is_kept_aside_and_an_older_one_replayed(tmp_path: Path) -> None:
    store = filled(DiskStore(tmp_path))
    path = tmp_path / "snapshots" / "000000003"
    damage(path)
    before = path.read_bytes()
    head, said = resumed(store)
    assert_is(head, CHAIN[2].after)
    assert len(said) == 1 and "round 3" in said[0]
    assert path.with_name("000000003.damaged").read_bytes() == before and not path.exists()


@pytest.mark.parametrize("length", [0, 7, 300])
def test_a_truncated_snapshot_falls_back_too(tmp_path: Path, length: int) -> None:
    store = filled(DiskStore(tmp_path))
    path = tmp_path / "snapshots" / "000000003"
    path.write_bytes(path.read_bytes()[:length])
    assert_is(resumed(store)[0], CHAIN[2].after)


def test_with_every_snapshot_damaged_nothing_is_believed(tmp_path: Path) -> None:
    store = filled(DiskStore(tmp_path))
    for path in (tmp_path / "snapshots").iterdir():
        damage(path)
    head, said = resumed(store)
    assert head is None and len(said) == 2


def test_a_snapshot_without_its_record_proves_nothing(tmp_path: Path) -> None:
    store = filled(DiskStore(tmp_path))
    (tmp_path / "records" / "000000003").unlink()
    assert_is(resumed(store)[0], CHAIN[1].after)


def test_a_damaged_record_ends_the_replay_before_it(tmp_path: Path) -> None:
    store = filled(DiskStore(tmp_path), snapshots=(0, 1))
    damage(tmp_path / "records" / "000000003")
    assert_is(resumed(store)[0], CHAIN[1].after)
    assert (tmp_path / "records" / "000000003.damaged").exists()


def test_missing_results_end_the_replay_before_them(tmp_path: Path) -> None:
    store = filled(DiskStore(tmp_path), snapshots=(0, 1))
    (kept,) = (tmp_path / "results").glob("000000003-*")
    kept.write_bytes(kept.read_bytes()[:-1])
    assert_is(resumed(store)[0], CHAIN[1].after)


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(3, id="a scale"),
        pytest.param(-1, id="a code"),
    ],
)
def test_damaged_results_end_the_replay_before_them(tmp_path: Path, at: int) -> None:
    store = filled(DiskStore(tmp_path), snapshots=(0, 1))
    (kept,) = (tmp_path / "results").glob("000000003-*")
    data = bytearray(kept.read_bytes())
    data[at] ^= 0x80
    kept.write_bytes(data)
    assert_is(resumed(store)[0], CHAIN[1].after)


def test_a_record_of_too_few_votes_is_not_followed() -> None:
    store = filled(MemoryStore(), snapshots=(0,))
    record = wire.decode(CHAIN[1].record, Record)
    asyncio.run(store.save_record(2, wire.encode(Record(record.value, record.votes[:1]))))
    assert_is(resumed(store)[0], CHAIN[0].after)


def test_the_state_of_another_charter_is_not_taken() -> None:
    other = Run(make_charter(2, elements=ELEMENTS, chunk_elements=256))
    head, said = resumed(filled(MemoryStore(), snapshots=(2, 3)), other)
    assert head is None and len(said) == 2


def test_state_zero_is_the_charters_and_no_other() -> None:
    base_N = base_zero(ELEMENTS)
    assert_is(state_zero(RUN, base_N), zero_head(RUN))
    bent_N = base_N.copy()
    bent_N[5] = np.nextafter(bent_N[5], np.float32(9))
    for wrong in (bent_N, base_N[:-1], base_N.astype(np.float64), base_N.reshape(1, -1)):
        assert state_zero(RUN, wrong) is None
