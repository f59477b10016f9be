"""A run that begins from an open-weights folder: two real peers train it on JSON lines and Parquet, in its tokens."""

import json
import random
from pathlib import Path

import pyarrow
import pyarrow.parquet
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

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

    shown = json.loads(tapestry("charter", "show", pair.charter, "--json").stdout)["charter"]["model"]
    assert len(shown["checkpoint_digest"]) == len(shown["tokenizer_digest"]) == 64
