"""A checkpoint's own tokens: batches that a seed fixes, and bits per byte that count every byte of the text."""

import math
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from peers.ecosystem.tokens import TokenSampler, bits_per_byte_of_tokens, boundary_of, read_tokenizer
from swarm.errors import DataError, ModelError

TEXT = "The river holds a small bright stone. " * 40
BOUNDARY = 0


def sampler(checkpoint: Path, paths: list[Path], seed: int = 1) -> TokenSampler:
    return TokenSampler(paths, read_tokenizer(checkpoint), BOUNDARY, batch_size=3, sequence_length=11, seed=seed)


def drawn(made: TokenSampler, round_number: int, count: int = 4) -> np.ndarray:
    return np.concatenate(list(islice(made.batches(round_number), count)))


def test_batches_are_the_same_for_the_same_seed_and_round(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    paths = [tmp_path / "a.txt"]
    first = drawn(sampler(checkpoint, paths), 3)
    assert first.shape == (12, 12) and first.dtype == np.int64
    assert (drawn(sampler(checkpoint, paths), 3) == first).all()
    assert (drawn(sampler(checkpoint, paths), 4) != first).any()
    assert (drawn(sampler(checkpoint, paths, seed=2), 3) != first).any()


def test_rows_are_pieces_of_the_texts_between_boundaries(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("naïve 山 " * 300)
    (tmp_path / "b.txt").write_text("loom")
    words = read_tokenizer(checkpoint)
    rows = drawn(sampler(checkpoint, [tmp_path / "a.txt", tmp_path / "b.txt"]), 0, 20)
    assert rows.min() >= 0 and rows.max() < words.size
    for row in rows:
        for piece in "".join(chr(0xE000) if token == BOUNDARY else chr(token) for token in row).split(chr(0xE000)):
            text = words.tokenizer.decode([ord(token) for token in piece])
            assert text.strip("\ufffd") in ("naïve 山 " * 300) or text in "loom", text
    assert (rows == BOUNDARY).any(), "a text that ends is followed by the boundary"


def test_texts_without_a_token_end_the_drawing(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff" * 50)
    with pytest.raises(DataError, match="no token"):
        drawn(sampler(checkpoint, [tmp_path / "a.txt"]), 0, 1)
    with pytest.raises(DataError, match="no text files"):
        sampler(checkpoint, [])


def test_bits_per_byte_are_those_of_the_whole_text(checkpoint: Path) -> None:
    """Against one token at a time, each from what comes before it in its window."""
    model, words = AutoModelForCausalLM.from_pretrained(checkpoint), read_tokenizer(checkpoint)
    text, window = TEXT[:150], 9
    ids = words.encode(text)
    nats = 0.0
    with torch.no_grad():
        for number, token in enumerate(ids):
            before = [BOUNDARY, *ids[number - number % window : number]]
            logits = model(input_ids=torch.tensor([before])).logits[0, -1].double()
            nats -= float(torch.log_softmax(logits, -1)[token])
    expected = nats / math.log(2) / len(text.encode())
    found = bits_per_byte_of_tokens(model, words, BOUNDARY, text.encode(), window)
    assert found == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="too short"):
        bits_per_byte_of_tokens(model, words, BOUNDARY, b"", window)


def test_the_boundary_is_what_the_model_ends_texts_with(checkpoint: Path) -> None:
    config = AutoModelForCausalLM.from_pretrained(checkpoint).config
    assert boundary_of(config) == 0
    config.eos_token_id = [7, 8]
    assert boundary_of(config) == 7
    config.eos_token_id = None
    config.bos_token_id = 3
    assert boundary_of(config) == 3


def test_a_tokenizer_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be read"):
        read_tokenizer(tmp_path)
