"""Byte batches: windows of the files, equal shares, reproducible by seed and round."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from peers.batches import ByteSampler
from swarm.errors import DataError


@pytest.fixture
def texts(tmp_path: Path) -> list[Path]:
    """Three files of very different size, told apart by their byte values."""
    paths: list[Path] = []
    for number, size_bytes in enumerate((20, 2_000, 50_000)):
        paths.append(tmp_path / f"{number}.txt")
        paths[-1].write_bytes(bytes(number * 50 + i % 50 for i in range(size_bytes)))
    return paths


def test_rows_are_windows_and_files_have_equal_shares(texts: list[Path]) -> None:
    sampler = ByteSampler(texts, batch_size=4, sequence_length=9, seed=1)
    rows = np.concatenate(list(islice(sampler.batches(0), 9)))
    assert rows.shape == (36, 10)
    assert rows.dtype == np.int64
    files = rows[:, 0] // 50
    assert np.bincount(files).tolist() == [12, 12, 12]
    # Each byte is the previous one plus one, cyclically, inside its own file.
    assert (rows // 50 == files[:, None]).all()
    assert ((rows[:, 1:] - rows[:, :-1]) % 50 == 1).all()


def test_the_last_byte_of_a_file_can_be_drawn(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(11)))
    rows = np.concatenate(list(islice(ByteSampler([path], 8, 9, seed=0).batches(0), 8)))
    assert set(rows[:, 0].tolist()) == {0, 1}
    assert rows.max() == 10


def test_same_seed_and_round_repeat_and_others_differ(texts: list[Path]) -> None:
    def draw(seed: int, round_number: int) -> bytes:
        sampler = ByteSampler(texts, 4, 9, seed)
        return np.concatenate(list(islice(sampler.batches(round_number), 3))).tobytes()

    assert draw(1, 5) == draw(1, 5)
    assert len({draw(1, 5), draw(1, 6), draw(2, 5)}) == 3


def test_rounds_do_not_depend_on_what_was_drawn_before(texts: list[Path]) -> None:
    sampler = ByteSampler(texts, 4, 9, seed=1)
    list(islice(sampler.batches(0), 7))
    fresh = ByteSampler(texts, 4, 9, seed=1)
    assert (next(sampler.batches(3)) == next(fresh.batches(3))).all()


def test_unusable_files_are_refused(tmp_path: Path, texts: list[Path]) -> None:
    with pytest.raises(DataError, match="no text files"):
        ByteSampler([], 4, 9, 0)
    with pytest.raises(DataError, match=r"0\.txt has 20 bytes; a training sequence needs 21"):
        ByteSampler(texts, 4, 20, 0)
    with pytest.raises(DataError, match="cannot be read"):
        ByteSampler([tmp_path / "absent"], 4, 9, 0)
