"""How the built-in trainer reads text in a run: byte by byte, or in the tokens of the checkpoint that was adopted.

The charter decides, by the digest of the tokenizer; the folder that the peer was given must hold exactly that one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from peers.batches import ByteSampler
from peers.ecosystem.tokenizer import put_tokenizer, tokenizer_digest_of
from peers.ecosystem.tokens import TokenSampler, Words, bits_per_byte_of_tokens, boundary_of, read_tokenizer
from peers.scoring import MAX_SCORED_BYTES, bits_per_byte
from swarm.charter.manifest import Model, Training
from swarm.errors import ModelError


class Sampler(Protocol):
    """Batches of tokens, the same for the same round."""

    def batches(self, round_number: int) -> Iterator[NDArray[np.int64]]: ...


@dataclass(frozen=True)
class Reading:
    """The tokens of a run."""

    folder: Path | None
    """Of the tokenizer; None where tokens are bytes."""
    words: Words | None
    boundary: int

    def sampler(self, paths: Sequence[Path], training: Training, seed: int) -> Sampler:
        """Batches of these text files. Raises DataError."""
        if self.words is None:
            return ByteSampler(paths, training.batch_size, training.sequence_length, seed)
        return TokenSampler(paths, self.words, self.boundary, training.batch_size, training.sequence_length, seed)

    def scorer(self, paths: Sequence[Path], window: int) -> Callable[[Any], float] | None:
        """Bits per byte on these text files together; None without any."""
        if not paths:
            return None
        text = b"\n".join(path.read_bytes()[: MAX_SCORED_BYTES // len(paths)] for path in paths)
        words, boundary = self.words, self.boundary
        if words is None:
            return lambda model: bits_per_byte(model, text, window, MAX_SCORED_BYTES)
        return lambda model: bits_per_byte_of_tokens(model, words, boundary, text, window)

    def put_beside(self, export: Path) -> None:
        """Copies the tokenizer to where the model was written."""
        if self.folder is not None:
            put_tokenizer(self.folder, export)


def read_as(charter_model: Model, config: Any, adopted: str) -> Reading:
    """The tokens that a charter names.

    Args:
        config: of the model, as `transformers` has it.
        adopted: the folder that this peer was given; empty for none.

    Raises:
        ModelError: it is missing, not needed, or holds another tokenizer.
    """
    wanted = charter_model.tokenizer_digest
    if not wanted:
        if adopted and not charter_model.checkpoint_digest:
            raise ModelError("this run began from no checkpoint: leave --adopt out")
        return Reading(None, None, 0)
    if not adopted:
        raise ModelError(
            "this run's tokens are those of the checkpoint it began from: give --adopt the folder with its tokenizer"
        )
    folder = Path(adopted)
    if tokenizer_digest_of(folder) != wanted:
        raise ModelError(f"the tokenizer in {folder} is not the one this run began with ({wanted[:16]}...)")
    return Reading(folder, read_tokenizer(folder), boundary_of(config))
