"""The tokenizer of an adopted checkpoint in a state folder: kept once it is known to be the run's, and found there."""

import json
from pathlib import Path

import pytest

from peers.ecosystem.tokenizer import TOKENIZER_NAME, has_tokenizer, keep_tokenizer, tokenizer_digest_of, tokenizer_of
from swarm.errors import ModelError


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def change(folder: Path) -> None:
    path = folder / TOKENIZER_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": "1.0 "}))


def test_the_runs_tokenizer_is_kept_and_no_other(state: Path, checkpoint: Path, copy: Path) -> None:
    digest = tokenizer_digest_of(checkpoint)
    change(copy)
    keep_tokenizer(state, copy, digest)
    assert not (state / "tokenizer").exists()
    keep_tokenizer(state, checkpoint, digest)
    assert has_tokenizer(state / "tokenizer", digest) and tokenizer_of(state, digest) == state / "tokenizer"
    assert not list((state / "tokenizer").glob("*.safetensors")), "nothing but the tokenizer"
    keep_tokenizer(state, copy, digest)
    keep_tokenizer(state, state / "tokenizer", digest)
    assert has_tokenizer(state / "tokenizer", digest), "what is kept stays"
    change(state / "tokenizer")
    keep_tokenizer(state, checkpoint, digest)
    assert has_tokenizer(state / "tokenizer", digest), "what was damaged is kept anew"


def test_where_tokens_are_bytes_nothing_is_kept(state: Path, checkpoint: Path) -> None:
    keep_tokenizer(state, checkpoint, "")
    assert list(state.iterdir()) == []


@pytest.mark.parametrize("name", ["tokenizer", "shared-base", "shared-base.before-1"])
def test_it_is_found_wherever_a_state_folder_has_it(name: str, state: Path, copy: Path) -> None:
    digest = tokenizer_digest_of(copy)
    (state / "shared-base").mkdir()
    with pytest.raises(ModelError, match=r"does not hold the tokenizer .* copy its files .* to .*/state/tokenizer$"):
        tokenizer_of(state, digest)
    if name == "shared-base":
        (state / name).rmdir()
    copy.rename(state / name)
    assert tokenizer_of(state, digest) == state / name
    change(state / name)
    with pytest.raises(ModelError, match="does not hold the tokenizer that this run began with"):
        tokenizer_of(state, digest)
