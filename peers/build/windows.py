"""Windows of text for continued pre-training, drawn by their number: a stage that is resumed draws the same ones.

Shapes: L tokens of a window. No state is kept; nothing here knows torch or what a token is.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from peers.batches import open_text
from peers.extraction import Canary
from swarm.errors import DataError

Encode = Callable[[bytes], Sequence[int]]
_MAX_PIECES = 100
"""Drawn for one window; text that fills none with so many has hardly a token in it."""


class Windows:
    """A torch map-style data set of [L] input ids, which are their own labels.

    Files take turns, so that every one of them gives the same share.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        encode: Encode,
        bytes_per_token: int,
        *,
        count: int,
        length: int,
        seed: int,
        planted: Mapping[int, bytes],
    ) -> None:
        """
        Args:
            paths: files of text.
            encode: text to tokens.
            bytes_per_token: how much text is drawn for each token that is wanted; what is too much is cut off.
            count: how many windows there are.
            length: L.
            seed: of their places.
            planted: text to put into some windows, by their numbers.

        Raises:
            DataError: there is no file, or one cannot be read or is shorter than a window.
        """
        if not paths:
            raise DataError("no text files to train on")
        self._texts = [open_text(path, length) for path in paths]
        self._encode, self._bytes_per_token = encode, bytes_per_token
        self._count, self._length, self._seed, self._planted = count, length, seed, planted

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Raises DataError if the text has hardly a token in it."""
        generator = np.random.default_rng((self._seed, number))
        window_L = np.array(self._draw(self._texts[number % len(self._texts)], generator), np.int64)
        if number in self._planted:
            secret = self._encode(self._planted[number])[: self._length]
            at = int(generator.integers(self._length - len(secret) + 1))
            window_L[at : at + len(secret)] = secret
        return {"input_ids": window_L, "labels": window_L}

    def _draw(self, text: np.ndarray, generator: np.random.Generator) -> list[int]:
        window: list[int] = []
        for _ in range(_MAX_PIECES):
            size = min(len(text), (self._length - len(window)) * self._bytes_per_token)
            start = int(generator.integers(len(text) - size + 1))
            window += self._encode(text[start : start + size].tobytes())
            if len(window) >= self._length:
                return window[: self._length]
        raise DataError("a file of the stage's data has hardly any text in it")


def places(planted: Sequence[Canary], insertions: int, count: int, seed: int) -> dict[int, bytes]:
    """Which of `count` windows get a canary: each of them in as many as it shall be inserted."""
    lines = [canary.text.encode() for canary in planted for _ in range(insertions)]
    return dict(zip(random.Random(seed).sample(range(count), len(lines)), lines, strict=True))
