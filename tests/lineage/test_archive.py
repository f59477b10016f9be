"""`tapestry peer --archive`: what a replay from the beginning needs stays on disk, and only there."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from swarm.state.store import KEPT_ROUNDS, DiskStore, result_rounds

ROUNDS = KEPT_ROUNDS + 4


@pytest.mark.parametrize("archive", [False, True])
def test_an_archive_keeps_all_means_and_state_zero(archive: bool, tmp_path: Path) -> None:
    async def live() -> None:
        store = DiskStore(tmp_path, archive=archive)
        for number in range(ROUNDS + 1):
            await store.save_snapshot(number, (np.zeros(3, np.float32),))
            if number:
                await store.save_results(number, bytes(32), [b"mean"])

    asyncio.run(live())
    store = DiskStore(tmp_path, read_only=True)
    if archive:
        assert list(result_rounds(tmp_path)) == list(range(ROUNDS, 0, -1))
        assert list(store.snapshots()) == [ROUNDS, ROUNDS - 1, 0]
    else:
        assert len(result_rounds(tmp_path)) == KEPT_ROUNDS + 1 and list(store.snapshots()) == [ROUNDS, ROUNDS - 1]


def test_reading_a_folder_changes_nothing_in_it(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    half = tmp_path / "records" / "000000001.3.new"
    half.write_bytes(b"its peer is writing this")
    store = DiskStore(tmp_path, read_only=True)
    assert store.load_snapshot(1) is None and half.exists() and not (tmp_path / "results").exists()
