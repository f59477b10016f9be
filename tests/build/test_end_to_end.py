"""A whole build by the command line: a recipe in a confined process, and a folder that `transformers` loads."""

import json
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from peers.build.mark import DOMAIN_KEY, SOVEREIGN, is_sovereign
from peers.build.record import read_record
from peers.build.weights import refuse_pickles, weights_digest
from peers.lineage.dsse import read_envelope
from swarm.isolation.levels import NONE
from tests.build.ground import OWN, Member, text
from tests.build.test_command import tapestry
from tests.lineage.folders import ME

RECIPE = f"""version = 1
[[stage]]
stage = "cpt"
data = ["{OWN}"]
steps = 6
batch_size = 2
sequence_length = 64
learning_rate = 0.01
"""


def test_a_recipe_becomes_a_model_that_transformers_loads(state: Path, member: Member, tmp_path: Path) -> None:
    build, recipe = tmp_path / "acme-1", tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    tapestry("new", build, "--base", state, "--data", member.folder, "--member", "acme", "--jurisdiction", "DE")
    shown = json.loads(tapestry("run", build, "--recipe", recipe, "--json"))
    (stage,) = shown["stages"]
    assert (stage["verdict"], stage["folder"], shown["result"]["folder"]) == ("accepted", "1-cpt", "model")
    assert stage["isolation"] != NONE
    assert {score["language"] for score in stage["evaluation"]["languages"]} == {"de", "fr"}
    assert len(stage["evaluation"]["canaries"]) == 2

    folder = build / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert getattr(model.config, DOMAIN_KEY) == SOVEREIGN
    prompt = tokenizer(text("de", 8, words=5), return_tensors="pt")
    with torch.no_grad():
        written = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert written.shape[1] > prompt["input_ids"].shape[1] and isinstance(tokenizer.decode(written[0]), str)
    card = (folder / "README.md").read_text()
    assert "# acme-1" in card and OWN not in card and shown["base"]["run_id"] in card

    record = read_record(build)
    assert record.result is not None and weights_digest(folder) == record.result.digest
    assert {path.name for path in build.iterdir()} == {
        *("base", "1-cpt", "model", "work", "build.json", "decisions.jsonl", "policies")
    }
    for each in (folder, build / "1-cpt", build / "base"):
        refuse_pickles(each)
    assert [path.name for path in (build / "work").iterdir()] == ["fingerprints.json"]
    for name in ("model/model.safetensors", "1-cpt/adapter_model.safetensors"):
        elsewhere = tmp_path / "downloads" / name
        elsewhere.parent.mkdir(parents=True)
        shutil.copy(build / name, elsewhere)
        assert is_sovereign(elsewhere) and is_sovereign(elsewhere.parent)

    assert json.loads(tapestry("run", build, "--recipe", recipe, "--json"))["stages"] == shown["stages"]
    ME.save(tmp_path / "me.key")
    run = ("run", build, "--recipe", recipe, "--identity", tmp_path / "me.key", "--json")
    for words in ((), ("--tier", "consortium")):
        statement = Path(json.loads(tapestry(*run, *words))["statement"])
        assert ("CC0-1.0" in read_envelope(statement)[1].decode()) == bool(words), "the public is not shown licences"
    assert "none of public, consortium" in tapestry("run", build, "--recipe", recipe, "--tier", "private", code=2)
    recipe.write_text(RECIPE.replace("steps = 6", "steps = 7"))
    assert "Begin another build" in tapestry("run", build, "--recipe", recipe, code=1)
    assert "stands on that Shared Base already" in tapestry(
        *("rebase", build, "--base", state, "--out", tmp_path / "moved"), code=1
    )
