"""Whole builds by the command line, each stage a confined process: `make builds` (about four minutes; Linux, root
or a user namespace). Parts can be named: `python -m tests.build lora gate`.

    lora       cpt killed with SIGKILL and gone on with, sft stopped with Ctrl+C and gone on with, dpo; scored as it
               lies, rebased to the next round, signed, verified
    full       all weights: cpt, sft on a conversation, dpo; not rebased
    gate       a stage is refused, judged anew under other limits, and accepted
    adopted    a run that began from an open-weights folder: in its tokens, with its tokenizer

All of it runs on a machine whose every packet is counted, and none must be sent.
"""

import json
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from peers.build.decisions import policies_named
from peers.build.weights import refuse_pickles
from swarm.isolation.levels import NETWORK_NAMESPACE
from swarm.state.policies import kept_policies
from tests.build.ground import OWN, ROUNDS, Member, make_state, text
from tests.build.wire import Wire, move_there
from tests.ecosystem.checkpoints import make_checkpoint
from tests.integration.processes import Running, command_line, descendants, is_alive, tapestry, wait_for
from tests.lineage.folders import ME

ANSWERS, CHAT, CHOICES = "answers", "conversations", "choices"
_LINES = text("de", 5, words=6000).split()
SMALL = ("--batch-size", 2, "--sequence-length", 128, "--learning-rate", 0.002)


def lora(state: Path, member: Member, folder: Path) -> None:
    build, recipe = folder / "build", folder / "recipe.toml"
    recipe.write_text(_recipe(400, 400, 20))
    ME.save(folder / "me.key")
    run = ("build", "run", build, "--recipe", recipe, "--identity", folder / "me.key")
    _new(build, state, member, "--round", ROUNDS - 1)

    command = Running(*run)
    worker = _training(build / "work" / "1-cpt", command)
    _has_no_network(worker)
    command.end(signal.SIGKILL)
    wait_for("the worker's end", lambda: not is_alive(worker))
    _say(f"killed in the middle of cpt: {_steps(build / 'work' / '1-cpt')}")

    command = Running(*run)
    _training(build / "work" / "2-sft", command)
    assert "cpt: going on from the checkpoint of step" in command.stderr, command.stderr
    assert command.end(signal.SIGINT) == 1
    assert "the same command goes on from the last checkpoint" in command.stderr, command.stderr
    _say(f"Ctrl+C in the middle of sft: {_steps(build / 'work' / '2-sft')}")

    said = _run(*run)
    assert "cpt: done before" in said and "sft: going on from the checkpoint of step" in said, said
    found = _json("build", "show", build)
    assert [stage["verdict"] for stage in found["stages"]] == ["accepted"] * 3, found
    _is_a_model(build / "model")
    scores = _json("build", "evaluate", build)["evaluation"]["languages"]
    after = found["stages"][-1]["evaluation"]["languages"]
    assert [each["after"] for each in scores] == [each["after"] for each in after]

    said = _run("build", "rebase", build, "--base", state, "--out", folder / "moved")
    assert "de (own)" in said and ("gained" in said or "lost" in said), said
    moved = _json("build", "show", folder / "moved")
    assert (moved["base"]["round"], moved["rebased"]["base"]["round"]) == (ROUNDS, ROUNDS - 1)
    assert [stage["result"] for stage in moved["stages"]] == [stage["result"] for stage in found["stages"]]
    assert policies_named(folder / "moved") == kept_policies(folder / "moved").keys() != set()
    _is_a_model(folder / "moved" / "model")
    _run("lineage", "sign", folder / "moved", "--identity", folder / "me.key")
    for each in (build, folder / "moved"):
        assert "Sovereign Build on the Shared Base" in _run("lineage", "verify", each, "--state", state)


def full(state: Path, member: Member, folder: Path) -> None:
    build = folder / "build"
    _new(build, state, member)
    for stage, data in (("cpt", OWN), ("sft", CHAT), ("dpo", CHOICES)):
        _run("build", stage, build, "--data", data, "--method", "full", "--steps", 20, *SMALL)
    assert len(_json("build", "show", build)["stages"]) == 3
    _is_a_model(build / "model")
    said = _run("build", "rebase", build, "--base", state, "--round", 1, "--out", folder / "moved", code=1)
    assert "changed all weights: only adapters carry over" in said and not (folder / "moved").exists()


def gate(state: Path, member: Member, folder: Path) -> None:
    build = folder / "build"
    _new(build, state, member)
    cpt = ("build", "cpt", build, "--data", OWN, "--steps", 30, *SMALL)
    said = _run(*cpt, "--retention-factor", 0.5, code=1)
    assert "is refused" in said and "retention_factor" in said and not (build / "model").exists()
    assert "has no model yet" in _run("build", "evaluate", build, code=1)
    said = _run(*cpt, "--retention-factor", 3.0)
    assert "step" not in said.replace("(lora, 30 steps)", ""), said
    assert [stage["verdict"] for stage in _json("build", "show", build)["stages"]] == ["accepted"]
    (build / "1-cpt" / "canaries.json").unlink()
    assert "nobody can tell what the stage has memorised" in _run("build", "evaluate", build, code=1)


def adopted(state: Path, member: Member, folder: Path) -> None:
    checkpoint, build = make_checkpoint(folder / "checkpoint"), folder / "build"
    make_state(folder / "state", 1, checkpoint)
    _new(build, folder / "state", member)
    words = ("--steps", 20, "--batch-size", 2, "--sequence-length", 64)
    _run("build", "cpt", build, "--data", OWN, *words)
    assert "no chat template" in _run("build", "sft", build, "--data", CHAT, *words, code=1)
    _run("build", "sft", build, "--data", ANSWERS, *words)
    _run("build", "dpo", build, "--data", CHOICES, *words)
    _is_a_model(build / "model")
    ours, theirs = (AutoTokenizer.from_pretrained(path) for path in (build / "model", checkpoint))
    assert ours("the river holds")["input_ids"] == theirs("the river holds")["input_ids"]


PARTS: dict[str, Callable[[Path, Member, Path], None]] = {
    "lora": lora,
    "full": full,
    "gate": gate,
    "adopted": adopted,
}


def main(names: Sequence[str]) -> None:
    move_there()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts this in the background has had it ignored
    wire = Wire()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_state(folder / "state")
        before = wire.packets
        for part in names or PARTS:
            (folder / part).mkdir()
            PARTS[part](folder / "state", _member(folder / part / "data"), folder / part)
            _say(f"{part}: as it should be")
        assert wire.packets == before, f"{wire.packets - before} packets left"
    _say("builds: all is as it should be, and no packet was sent")


def _member(folder: Path) -> Member:
    member = Member(folder)
    member.isolation = NETWORK_NAMESPACE
    answers = [(f"Frage {n}: ", " ".join(_LINES[n * 6 : n * 6 + 6])) for n in range(1000)]
    member.add_rows(ANSWERS, "answers.jsonl", [{"prompt": asked, "completion": said} for asked, said in answers])
    roles = ("user", "assistant")
    turns = [[{"role": role, "content": said} for role, said in zip(roles, each, strict=True)] for each in answers]
    member.add_rows(CHAT, "chat.jsonl", [{"messages": each} for each in turns])
    choices = [{"prompt": asked, "chosen": said, "rejected": said[::-1]} for asked, said in answers]
    member.add_rows(CHOICES, "choices.jsonl", choices)
    return member


def _recipe(*steps: int) -> str:
    stages = zip(("cpt", "sft", "dpo"), (OWN, ANSWERS, CHOICES), steps, strict=True)
    return "version = 1\n" + "".join(
        f'[[stage]]\nstage = "{stage}"\ndata = ["{data}"]\nsteps = {count}\nbatch_size = 2\nsequence_length = 128\n'
        "learning_rate = 0.002\ncheckpoint_steps = 10\n"
        for stage, data, count in stages
    )


def _new(build: Path, state: Path, member: Member, *more: object) -> None:
    _run("build", "new", build, "--base", state, "--data", member.folder, "--jurisdiction", "DE", *more)


def _run(*words: object, code: int = 0) -> str:
    ended = tapestry(*words, limit_s=600)
    assert ended.returncode == code, ended.stderr
    return ended.stdout + ended.stderr


def _json(*words: object) -> dict[str, Any]:
    return json.loads(tapestry(*words, "--json", limit_s=600).stdout)


def _training(work: Path, command: Running) -> int:
    """The worker's process id, once it has written a checkpoint."""
    wait_for(f"a checkpoint in {work.name}", lambda: bool(_steps(work)) or not command.is_running, limit_s=600)
    assert command.is_running, command.stderr
    return next(pid for pid in descendants(command.pid) if "-m peers.build.worker" in command_line(pid))


def _steps(work: Path) -> list[str]:
    """The checkpoints that are on disk: one that is being written is not gone on from."""
    whole = work / "trainer" / "checkpoints" / "whole.json"
    return sorted(json.loads(whole.read_bytes())) if whole.exists() else []


def _has_no_network(pid: int) -> None:
    """Whether a process sees no interface but a loopback of its own that nothing has gone through."""
    interfaces = [line.split() for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]]
    assert [words[0] for words in interfaces] == ["lo:"] and set(interfaces[0][1:]) == {"0"}, interfaces


def _is_a_model(folder: Path) -> None:
    """Whether `transformers` loads it, tokenizer included, and it writes something; with a card, without a pickle."""
    refuse_pickles(folder)
    transformers_logging.disable_progress_bar()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer("Frage 1: ", return_tensors="pt")
    with torch.no_grad():
        written = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert written.shape[1] > prompt["input_ids"].shape[1]
    assert "## Evaluation" in (folder / "README.md").read_text()


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
