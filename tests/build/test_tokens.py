"""Tokens of a build: bytes, as a tokenizer that `transformers` loads by itself, or those of the adopted checkpoint."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, LlamaConfig

from peers.build.tokens import SPECIAL, encoder, reading_of, write_tokenizer
from peers.ecosystem.tokenizer import put_tokenizer
from tests.ecosystem.checkpoints import make_checkpoint

TEXTS = (
    "Plain words, and: a\ttab\nand a line.  Two spaces ",
    "Grüße, naïve Œuvre — ½ €",
    "山に川あり 한국어 tiếng Việt",
    "\U0001f9f5 \x00 \x7f \u00ad",
    "<|end|",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    write_tokenizer(path, 512)
    return path


def test_ids_are_bytes_and_come_back_as_text(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == 256 and tokenizer.model_max_length == 512
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert bytes(ids) == text.encode() and tokenizer.decode(ids) == text
    for byte in range(128):
        assert tokenizer(chr(byte))["input_ids"] == [byte]


def test_what_is_not_text_has_bytes_that_no_text_has(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (255, 254)
    turns = [{"role": "user", "content": "Wer?"}, {"role": "assistant", "content": "Ich."}]
    ids = tokenizer.apply_chat_template(turns, return_dict=False)
    assert ids == [253, *b"Wer?", 255, 252, *b"Ich.", 255]
    asked = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, return_dict=False)
    assert ids[: len(asked)] == asked
    assert tokenizer.decode(ids, skip_special_tokens=True) == "Wer?Ich."
    assert set(SPECIAL) == set(range(251, 256))


def test_a_saved_tokenizer_still_reads_bytes(folder: Path, tmp_path: Path) -> None:
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    for each in (folder, tmp_path / "saved"):
        reading = reading_of(each, LlamaConfig())
        assert reading.words is None and list(encoder(reading)(b"\xff\x00a")) == [255, 0, 97]


def test_a_build_reads_text_in_the_tokens_beside_its_base(tmp_path: Path) -> None:
    checkpoint, base = make_checkpoint(tmp_path / "checkpoint"), tmp_path / "base"
    base.mkdir()
    put_tokenizer(checkpoint, base)
    reading = reading_of(base, LlamaConfig(eos_token_id=0))
    assert reading.words is not None and reading.boundary == 0
    assert encoder(reading)(b"the river\xff") == AutoTokenizer.from_pretrained(base)("the river")["input_ids"]
