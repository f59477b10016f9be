"""A run that begins from an open-weights folder: two real peers train it on JSON lines and Parquet, in its tokens."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from peers.ecosystem.tokenizer import tokenizer_digest_of
from peers.ecosystem.tokens import bits_per_byte_of_tokens, boundary_of, read_tokenizer
from swarm import events
from tests.ecosystem.checkpoints import sentences
from tests.ecosystem.pair import NAMES, Pair
from tests.integration.processes import tapestry

ROUNDS = 3


def test_two_peers_go_on_from_a_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    training = ["--inner-steps", 8, "--batch-size", 4, "--sequence-length", 24, "--inner-lr", 0.01]
    pair = Pair(tmp_path, "--adopt", checkpoint, *training, "--outer-lr", 1.0, "--outer-momentum", 0.0)
    ada, bo = (tmp_path / name for name in NAMES)
    rows = [{"body": text, "id": number} for number, text in enumerate(sentences(random.Random(1), 200))]
    (ada / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pair.label("ada", more='field = "body"')
    pyarrow.parquet.write_table(pyarrow.table({"text": sentences(random.Random(2), 200)}), bo / "rows.parquet")
    pair.label("bo")
    peers = pair.run(ROUNDS, {name: ["--adopt", checkpoint] for name in NAMES})

    for peer in peers.values():
        losses = [event.loss for event in peer.happened(events.UpdateReady)]
        assert losses[-1] < 0.8 * losses[0], losses
    exports = [peer.state / "shared-base" for peer in peers.values()]
    first, second = (load_file(export / "model.safetensors") for export in exports)
    assert first.keys() == second.keys() and all(first[key].equal(second[key]) for key in first)

    words = read_tokenizer(exports[0])
    held_out = "\n".join(sentences(random.Random(3), 40)).encode()

    def score(folder: Path) -> float:
        model = AutoModelForCausalLM.from_pretrained(folder)
        return bits_per_byte_of_tokens(model, words, boundary_of(model.config), held_out, 24)

    assert score(exports[0]) < 0.8 * score(checkpoint)
    assert AutoTokenizer.from_pretrained(exports[0])("the river")["input_ids"] == words.encode("the river")

    is_left_with(pair, peers["ada"].state, checkpoint)

    shown = said("charter", "show", pair.charter)["charter"]["model"]
    assert len(shown["checkpoint_digest"]) == len(shown["tokenizer_digest"]) == 64


def is_left_with(pair: Pair, state: Path, checkpoint: Path) -> None:
    """Whether a peer leaves with the tokenizer that it was given, and a build begins on what it took along."""
    bundle, back, digest = pair.folder / "ada.tar", pair.folder / "back", tokenizer_digest_of(checkpoint)
    assert tokenizer_digest_of(state / "tokenizer") == digest
    (pair.folder / "notes").mkdir()
    (pair.folder / "notes" / "notes.txt").write_text("the river holds the stone")
    pair.label("notes")
    left = said("exit", state, "--out", bundle, "--identity", pair.folder / "ada.key")
    said("exit", "restore", bundle, "--run-id", left["run_id"], "--out", back)
    said("build", "new", pair.folder / "build", "--base", back / "state", "--data", pair.folder / "notes")
    assert tokenizer_digest_of(pair.folder / "build" / "base") == digest


def said(*words: object) -> dict[str, Any]:
    """The JSON document of a command that has succeeded."""
    done = tapestry(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
