"""Which open-weights folders a run can begin from, and what the charter then says of them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from peers.ecosystem.checkpoint import adopt
from peers.ecosystem.reading import read_as
from peers.model import build, load_vector
from swarm.charter.manifest import Model, Nesterov, Reduce
from swarm.errors import ModelError, UsageError
from tests.integration.processes import tapestry

OUTER, REDUCE = Nesterov(), Reduce()


def test_a_checkpoint_becomes_state_0_weight_for_weight(checkpoint: Path) -> None:
    adopted = adopt(checkpoint, OUTER, REDUCE)
    model = build(adopted.config_json)
    load_vector(model, adopted.state.base)
    original = AutoModelForCausalLM.from_pretrained(checkpoint)
    words = torch.tensor([[1, 5, 9, 200]])
    with torch.no_grad():
        assert torch.equal(model(input_ids=words).logits, original(input_ids=words).logits)
    assert len(adopted.digest) == len(adopted.tokenizer_digest) == 64
    assert "transformers_version" not in json.loads(adopted.config_json)


def test_its_digest_is_of_content_and_not_of_place(checkpoint: Path, copy: Path) -> None:
    first, second = adopt(checkpoint, OUTER, REDUCE), adopt(copy, OUTER, REDUCE)
    assert first.digest == second.digest and first.state.state_digest == second.state.state_digest
    (copy / "README.md").write_text("what it is")
    assert adopt(copy, OUTER, REDUCE).digest == first.digest, "only what makes the model counts"
    shard = sorted(copy.glob("*.safetensors"))[0]
    tensors = load_file(shard)
    name = sorted(tensors)[0]
    save_file(tensors | {name: tensors[name] + 1}, shard, metadata={"format": "pt"})
    assert adopt(copy, OUTER, REDUCE).digest != first.digest


def drop_weights(folder: Path) -> None:
    for path in folder.glob("*.safetensors"):
        path.unlink()


def drop_a_weight(folder: Path) -> None:
    shard = sorted(folder.glob("*.safetensors"))[0]
    tensors = load_file(shard)
    del tensors[sorted(tensors)[0]]
    save_file(tensors, shard, metadata={"format": "pt"})


def poison(folder: Path) -> None:
    shard = sorted(folder.glob("*.safetensors"))[0]
    tensors = load_file(shard)
    name = sorted(tensors)[0]
    save_file(tensors | {name: torch.full_like(tensors[name], np.nan)}, shard, metadata={"format": "pt"})


def change_config(**fields: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


def drop_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def drop_fast_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def tear_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')


def larger_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["added_tokens"] += [{**content["added_tokens"][0], "id": 320 + n, "content": f"<{n}>"} for n in range(5)]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda folder: (folder / "pytorch_model.bin").write_bytes(b"x"), "pickle file"),
        (lambda folder: (folder / "training_args.pt").write_bytes(b"x"), "pickle file"),
        (lambda folder: (folder / "optimizer.pkl").write_bytes(b"x"), "pickle file"),
        (drop_weights, "no safetensors file"),
        (drop_a_weight, "not whole"),
        (poison, "a NaN or an infinity"),
        (tear_config, "is not JSON"),
        (change_config(model_type=None), "names no model_type"),
        (change_config(model_type="no-such-model"), "cannot load"),
        (change_config(quantization_config={"quant_method": "bitsandbytes"}), "quantised weights"),
        (change_config(hidden_size=48), "cannot load|not whole"),
        (drop_tokenizer, "not that of bytes"),
        (drop_fast_tokenizer, "no tokenizer.json"),
        (larger_tokenizer, "its tokenizer has 325 tokens"),
    ],
)
def test_what_is_not_whole_or_not_safe_is_refused(copy: Path, spoil: Callable[[Path], object], cause: str) -> None:
    spoil(copy)
    with pytest.raises(ModelError, match=cause):
        adopt(copy, OUTER, REDUCE)


def test_code_of_a_checkpoint_never_runs(copy: Path, tmp_path: Path) -> None:
    (copy / "modeling_own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    change_config(auto_map={"AutoModelForCausalLM": "modeling_own.Own"})(copy)
    assert "auto_map" not in json.loads(adopt(copy, OUTER, REDUCE).config_json)
    assert not (tmp_path / "ran").exists()


def test_the_command_line_refuses_pickles_in_one_sentence(copy: Path, tmp_path: Path) -> None:
    (copy / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    key = "12D3KooWQ45M7d5X8ykr7wXdnTh1cnKZt9fQPA6kw3dknnoD2Rep"
    words = ["--adopt", copy, "--open", "--name", "x", "--region", "eu=DE", "--founder", key, "--genesis", key]
    done = tapestry("charter", "new", tmp_path / "run.toml", *words, "--min-contributors", 1)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"tapestry: {copy / 'pytorch_model.bin'} is a pickle file, which can run code when it is read: safetensors only"
    )
    assert not list(tmp_path.glob("run*")), "nothing is left of the attempt"


def test_a_folder_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        adopt(tmp_path / "nowhere", OUTER, REDUCE)


def test_a_peer_needs_the_tokenizer_that_the_charter_names(checkpoint: Path, copy: Path) -> None:
    adopted = adopt(checkpoint, OUTER, REDUCE)
    model = Model(
        config_json=adopted.config_json,
        parameters=adopted.state.parameters,
        schema_digest=adopted.state.schema_digest,
        state_digest=adopted.state.state_digest,
        checkpoint_digest=adopted.digest,
        tokenizer_digest=adopted.tokenizer_digest,
    )
    config = build(adopted.config_json).config
    reading = read_as(model, config, str(copy))
    assert reading.words is not None and reading.words.size == 320 and reading.boundary == 0
    with pytest.raises(ModelError, match="give --adopt"):
        read_as(model, config, "")
    larger_tokenizer(copy)
    with pytest.raises(ModelError, match="not the one this run began with"):
        read_as(model, config, str(copy))
