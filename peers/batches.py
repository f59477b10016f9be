"""Byte-level batches from text files, the same for the same seed and round.

Shapes: B sequences, L bytes each plus the one to predict. No state is kept between rounds: a peer that
    restarts in round 7
draws what it would have drawn there anyway, and not what it drew in round 0. Nothing here knows torch.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swarm.errors import DataError


class ByteSampler:
    """Draws windows of bytes from files; every file, however large, gives the same share of the rows."""

    def __init__(self, paths: Sequence[Path], batch_size: int, sequence_length: int, seed: int) -> None:
        """
        Args:
            paths: files of at least `sequence_length` + 1 bytes; they are memory-mapped, not read.
            batch_size: B, sequences per batch.
            sequence_length: L, bytes a sequence predicts.
            seed: any non-negative number; peers should differ in it.

        Raises:
            DataError: there is no file, or one is unreadable or too short.
        """
        if not paths:
            raise DataError("no text files to train on")
        self._texts = [open_text(path, sequence_length + 1) for path in paths]
        self._batch_size = batch_size
        self._sequence_length = sequence_length
        self._seed = seed

    def batches(self, round_number: int) -> Iterator[NDArray[np.int64]]:
        """An endless stream of [B, L+1] arrays of byte values 0..255 for one round."""
        random = np.random.default_rng((self._seed, round_number))
        # Files take turns row by row, so that shares are equal even when B is smaller than the number of
        # files.
        turn = int(random.integers(len(self._texts)))
        while True:
            batch_BL = np.empty((self._batch_size, self._sequence_length + 1), dtype=np.int64)
            for row_L in batch_BL:
                text = self._texts[turn % len(self._texts)]
                start = int(random.integers(len(text) - self._sequence_length))
                row_L[:] = text[start : start + self._sequence_length + 1]
                turn += 1
            yield batch_BL


def open_text(path: Path, needed_bytes: int) -> NDArray[np.uint8]:
    """A file's bytes, memory-mapped. Raises DataError if it cannot be read or has fewer than are needed."""
    try:
        size_bytes = path.stat().st_size
        if size_bytes < needed_bytes:
            raise DataError(f"{path} has {size_bytes} bytes; a training sequence needs {needed_bytes}")
        return np.memmap(path, dtype=np.uint8, mode="r")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
