"""The records of a data folder, and true Poisson sampling over them.

A record is what the guarantee hides: whether it was there. Two units, named in the policy:

    sequence   consecutive pieces of a file, cut so that every byte is in exactly one
    document   a whole `.txt` file, or one line of a `.jsonl` file; when it is drawn it gives one piece, begun at random

In every step each record is in the batch with probability `sample_rate`, whatever the others do: batches differ in
size, and one may be empty. The rate is the charter's batch over the number of records, that number rounded down to two
significant binary digits: the rate, and with it epsilon, gives the exact count away to nobody, and stays the same when
one record comes or goes (but where a step of the rounding lies between).

Shapes: pieces are rows of L+1 bytes; what is shorter is filled up with PADDING, which no loss counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from peers.privacy.keystream import Keystream
from swarm.errors import DataError

Unit = Literal["sequence", "document"]
PADDING = -100
"""What torch's cross-entropy passes over."""
_SHORTEST_BYTES = 2
"""A byte to predict and one to predict it from."""


@dataclass(frozen=True)
class Records:
    """Where each record lies: file number, first byte and length, int64 [R] each."""

    texts: Sequence[NDArray[np.uint8]]
    text_R: NDArray[np.int64]
    start_R: NDArray[np.int64]
    length_R: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.text_R)


def find_records(paths: Sequence[Path], unit: Unit, sequence_length: int) -> Records:
    """The records in text files, which are memory-mapped, not read into memory.

    Raises:
        DataError: a file cannot be read, or there is no record at all.
    """
    texts: list[NDArray[np.uint8]] = []
    found: list[NDArray[np.int64]] = []
    for number, path in enumerate(paths):
        text = _open(path)
        texts.append(text)
        starts, ends = _sequences(len(text), sequence_length + 1) if unit == "sequence" else _documents(path, text)
        is_long_enough = ends - starts >= _SHORTEST_BYTES
        rows = np.stack((np.full_like(starts, number), starts, ends - starts))
        found.append(rows[:, is_long_enough])
    text_R, start_R, length_R = np.concatenate(found, axis=1) if found else np.empty((3, 0), np.int64)
    if not len(text_R):
        raise DataError("no text to train on: every file is empty")
    return Records(texts, text_R, start_R, length_R)


def sample_rate(records: int, expected_batch: int) -> float:
    """The probability of one record to be in a step's batch: at most 1, for so many records."""
    return min(1.0, expected_batch / rounded_down(records))


def rounded_down(count: int) -> int:
    """The count with its two highest binary digits, and zeros."""
    shift = max(0, count.bit_length() - 2)
    return count >> shift << shift


class PoissonSampler:
    """Draws batches from records."""

    def __init__(self, records: Records, rate: float, sequence_length: int, stream: Keystream) -> None:
        assert 0 < rate <= 1, rate
        self._records = records
        self._rate = rate
        self._row_bytes = sequence_length + 1
        self._stream = stream

    def draw(self) -> NDArray[np.int64]:
        """One step's batch: the pieces of B records, int64 [B, L+1]; B is random and may be 0."""
        chosen_B = self._chosen()
        batch_BL = np.full((len(chosen_B), self._row_bytes), PADDING, np.int64)
        where_B = self._stream.words(len(chosen_B))
        records = self._records
        for row_L, number, random in zip(batch_BL, chosen_B, where_B, strict=True):
            length = int(records.length_R[number])
            spare = max(0, length - self._row_bytes)
            start = int(records.start_R[number]) + int(random) % (spare + 1)
            piece = records.texts[int(records.text_R[number])][start : start + min(length, self._row_bytes)]
            row_L[: len(piece)] = piece
        return batch_BL

    def _chosen(self) -> NDArray[np.intp]:
        """Numbers of the records that are in: one draw for each record."""
        words_R = self._stream.words(len(self._records))
        if self._rate == 1.0:
            return np.arange(len(self._records))
        return np.flatnonzero(words_R < np.uint64(int(self._rate * 2.0**64)))


def _sequences(size_bytes: int, row_bytes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    starts = np.arange(0, size_bytes, row_bytes, dtype=np.int64)
    return starts, np.minimum(starts + row_bytes, size_bytes)


def _documents(path: Path, text: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if path.suffix != ".jsonl":
        return np.zeros(1, np.int64), np.array([len(text)], np.int64)
    breaks = np.flatnonzero(text == ord("\n"))
    return np.concatenate(([0], breaks + 1)), np.concatenate((breaks, [len(text)]))


def _open(path: Path) -> NDArray[np.uint8]:
    try:
        if not path.stat().st_size:
            return np.empty(0, np.uint8)
        return np.memmap(path, dtype=np.uint8, mode="r")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
