"""An adopted checkpoint's own tokens: batches to train on, and bits per byte to score by.

The tokenizer is read from `tokenizer.json` by the `tokenizers` library, so that no code of a checkpoint runs. Texts are
cut into tokens as they are drawn: nothing is kept between rounds, and a batch is the same for the same seed and round.

Shapes: B sequences of L tokens each plus the one to predict.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from peers.batches import open_text
from peers.ecosystem.tokenizer import TOKENIZER_NAME
from swarm.errors import DataError, ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PIECE_BYTES_PER_TOKEN = 8
"""Read at a time for each token that is wanted; what a language takes beyond that comes from another piece."""
_MAX_EMPTY_PIECES = 100
_MAX_LOGITS = 2**24
"""Of one batch that is scored: 64 MiB."""


@dataclass(frozen=True)
class Words:
    """A tokenizer without its special tokens."""

    tokenizer: "Tokenizer"

    @property
    def size(self) -> int:
        """Tokens there are, special ones included."""
        return self.tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, and nothing around them."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids


def read_tokenizer(folder: Path) -> Words:
    """The tokenizer of a checkpoint folder. Raises ModelError."""
    from tokenizers import Tokenizer

    path = folder / TOKENIZER_NAME
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001
        # the library raises bare Exception, for files that do not exist as for files it cannot read
        raise ModelError(f"{path} cannot be read: {next(iter(str(error).splitlines()), '')}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Words(tokenizer)


def boundary_of(config: Any) -> int:
    """The token a model knows as the end of a text, or else its beginning; 0 where its config names neither."""
    for named in (config.eos_token_id, config.bos_token_id):
        first = named[0] if isinstance(named, list) and named else named
        if isinstance(first, int) and first >= 0:
            return first
    return 0


class TokenSampler:
    """Draws sequences of tokens from text files; every file, however large, is begun with equally often."""

    def __init__(
        self, paths: Sequence[Path], words: Words, boundary: int, batch_size: int, sequence_length: int, seed: int
    ) -> None:
        """
        Args:
            paths: UTF-8 text files; they are memory-mapped, not read. Damaged characters are left out.
            boundary: the token put after the end of a file, and between pieces.
            batch_size: B.
            sequence_length: L, in tokens.
            seed: any non-negative number; peers should differ in it.

        Raises:
            DataError: there is no file, or one is unreadable or empty.
        """
        if not paths:
            raise DataError("no text files to train on")
        self._texts = [open_text(path, 1) for path in paths]
        self._words = words
        self._boundary = boundary
        self._batch_size = batch_size
        self._row_tokens = sequence_length + 1
        self._seed = seed

    def batches(self, round_number: int) -> Iterator[NDArray[np.int64]]:
        """An endless stream of [B, L+1] arrays of tokens for one round. Raises DataError if texts give none."""
        random = np.random.default_rng((self._seed, round_number))
        turn = int(random.integers(len(self._texts)))
        while True:
            batch_BL = np.empty((self._batch_size, self._row_tokens), dtype=np.int64)
            for row_L in batch_BL:
                turn = self._fill(row_L, turn, random)
            yield batch_BL

    def _fill(self, row_L: NDArray[np.int64], turn: int, random: np.random.Generator) -> int:
        """Fills one row with pieces; the next file's turn."""
        row: list[int] = []
        empty = 0
        while len(row) < self._row_tokens:
            piece = self._piece(self._texts[turn % len(self._texts)], self._row_tokens - len(row), random)
            turn += 1
            empty = 0 if piece else empty + 1
            if empty > _MAX_EMPTY_PIECES:
                raise DataError("the tokenizer finds no token in the text files")
            row += [*piece, self._boundary] if piece else []
        row_L[:] = row[: self._row_tokens]
        return turn

    def _piece(self, text: NDArray[np.uint8], wanted: int, random: np.random.Generator) -> list[int]:
        """Tokens from a random place on, at most as many as are wanted."""
        size = wanted * _PIECE_BYTES_PER_TOKEN
        start = int(random.integers(max(1, len(text) - size // 2)))
        ids = self._words.encode(bytes(text[start : start + size]).decode("utf-8", "ignore"))
        is_cut = start + size < len(text)
        return (ids[:-1] if is_cut else ids)[:wanted]  # the last token of a cut piece is of half a word


def bits_per_byte_of_tokens(model: Any, words: Words, boundary: int, text: bytes, window: int) -> float:
    """How many bits a model needs per byte of UTF-8 text, whatever its tokens are; comparable with any other model's.

    The text's tokens are cut into consecutive windows of `window`, each predicted after `boundary` and from what comes
    before it in the same window: every token costs something, so the bits are those of the whole text. Characters cut
    off at either end of `text` are left out, and not counted.

    Raises:
        ValueError: the text has no token.
    """
    import torch
    from torch.nn import functional

    whole = text.decode("utf-8", "ignore")
    ids = words.encode(whole)
    if not ids:
        raise ValueError("the text is too short: it has no token")
    rows = max(1, _MAX_LOGITS // (window * max(1, words.size)))
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    nats = 0.0
    try:
        with torch.no_grad():
            for batch in _windows(ids, boundary, window, rows):
                ids_BL = torch.tensor(batch, device=device)
                logits_BLV = model(input_ids=ids_BL[:, :-1]).logits
                losses = functional.cross_entropy(
                    logits_BLV.float().flatten(0, 1), ids_BL[:, 1:].flatten(), reduction="none"
                )
                nats += float(losses.double().sum())
    finally:
        model.train(was_training)
    return nats / math.log(2) / len(whole.encode())


def _windows(ids: Sequence[int], boundary: int, window: int, rows: int) -> Iterator[list[list[int]]]:
    """Windows with `boundary` before each, some at a time; the last, if shorter, alone."""
    cut = [[boundary, *ids[at : at + window]] for at in range(0, len(ids), window)]
    last = [] if len(cut[-1]) == window + 1 else [cut.pop()]
    for at in range(0, len(cut), rows):
        yield cut[at : at + rows]
    if last:
        yield last
