"""What the confined process does, here in this one: trains, stops on request, goes on, and scores."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from transformers import AutoTokenizer

from peers.build.base import verify_base, write_base
from peers.build.jobs import (
    ADAPTER_FOLDER,
    DataFile,
    Doing,
    Done,
    FromWorker,
    Score,
    Scoring,
    Step,
    Stopped,
    TrainStage,
)
from peers.build.mark import is_sovereign
from peers.build.record import Settings
from peers.build.weights import refuse_pickles, weights_digest
from peers.build.worker import load, run
from peers.extraction import Canary
from swarm.errors import DataError, ModelError
from tests.build.disk import Disk
from tests.build.ground import Member
from tests.build.records import weights
from tests.ecosystem.checkpoints import make_checkpoint

STEPS = 8
CANARY = Canary(prefix="The file number of Nobody is ", secret="314159265358", alphabet="0123456789", suffix=".")


@pytest.fixture(scope="module")
def base(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build") / "base"
    write_base(verify_base(state, None), folder)
    return folder


def file(path: Path) -> DataFile:
    return DataFile(path=str(path), field="text")


def scoring(member: Member) -> Scoring:
    held = member.folder / "held"
    return Scoring(
        held_out={"de": (file(held / "de.txt"),), "fr": (file(held / "fr.txt"),)},
        own=frozenset({"de"}),
        window=64,
        canaries=(CANARY,),
        alternatives=63,
    )


def job(base: Path, member: Member, out: Path, **changed: object) -> TrainStage:
    out.mkdir(exist_ok=True)
    fields = {
        "stage": "cpt",
        "method": "lora",
        "settings": Settings(steps=STEPS, batch_size=2, sequence_length=64, learning_rate=1e-2, checkpoint_steps=3),
        "base": str(base),
        "parent": str(base),
        "files": (file(member.folder / "notes.txt"),),
        "planted": (CANARY,),
        "insertions": 2,
        "scoring": scoring(member),
        "out": str(out),
    }
    return TrainStage(**{**fields, **changed})


def told(work: TrainStage | Score, stop: Callable[[], bool] = lambda: False) -> tuple[Done | Stopped, list[FromWorker]]:
    said: list[FromWorker] = []
    return run(work, said.append, stop), said


def test_a_stage_that_was_stopped_ends_with_the_same_weights(base: Path, member: Member, tmp_path: Path) -> None:
    whole, said = told(job(base, member, tmp_path / "whole"))
    assert isinstance(whole, Done) and whole.final_loss is not None
    assert [each.what for each in said if isinstance(each, Doing)] == ["loading", "training", "scoring"]
    assert [each.step for each in said if isinstance(each, Step)] == list(range(1, STEPS + 1))
    steps = iter((False, False, False, False, True))
    stopped, _ = told(job(base, member, tmp_path / "parts"), lambda: next(steps))
    assert stopped == Stopped(step=5)
    ended, said = told(job(base, member, tmp_path / "parts"))
    assert [each.resumed_step for each in said if isinstance(each, Doing)] == [0, 5, 0]
    assert ended == whole
    adapters = [tmp_path / name / ADAPTER_FOLDER for name in ("whole", "parts")]
    assert weights_digest(adapters[0]) == weights_digest(adapters[1])
    for folder in (*adapters, tmp_path / "whole" / "model"):
        refuse_pickles(folder)
    again, said = told(job(base, member, tmp_path / "whole"))
    assert again == whole and not any(isinstance(each, Step) for each in said)

    languages = {score.language: score for score in whole.evaluation.languages}
    assert languages["de"].is_own and not languages["fr"].is_own
    assert languages["de"].after < languages["de"].base == languages["de"].before
    (canary,) = whole.evaluation.canaries
    assert 1 <= canary.rank <= 64 and canary.alternatives == 63
    as_it_lies, _ = told(
        Score(base=str(base), model=str(tmp_path / "whole" / "model"), scoring=scoring(member), out=str(tmp_path))
    )
    assert isinstance(as_it_lies, Done) and as_it_lies.evaluation.canaries == whole.evaluation.canaries
    assert [score.after for score in as_it_lies.evaluation.languages] == [
        score.after for score in whole.evaluation.languages
    ]


@pytest.mark.parametrize(("stage", "method"), [("sft", "lora"), ("dpo", "full")])
def test_answers_and_preferences_go_on_as_well(
    base: Path, member: Member, tmp_path: Path, stage: str, method: str
) -> None:
    answers = {"sft": {"completion": "Ja, gewiss."}, "dpo": {"chosen": "Ja, gewiss.", "rejected": "Nein."}}[stage]
    rows = member.add_rows("rows", "rows.jsonl", [{"prompt": f"Frage {n}: ", **answers} for n in range(20)])
    settings = Settings(steps=5, batch_size=2, sequence_length=64, learning_rate=1e-3, checkpoint_steps=2)
    more = {"stage": stage, "method": method, "files": (file(rows),), "settings": settings}
    whole, _ = told(job(base, member, tmp_path / "whole", **more))
    steps = iter((False, False, True))
    stopped, _ = told(job(base, member, tmp_path / "parts", **more), lambda: next(steps))
    assert stopped == Stopped(step=3)
    assert told(job(base, member, tmp_path / "parts", **more))[0] == whole
    assert weights_digest(tmp_path / "whole" / "model") == weights_digest(tmp_path / "parts" / "model")


def test_a_runs_own_tokens_are_those_of_its_builds(member: Member, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint")
    settings = Settings(steps=STEPS, batch_size=2, sequence_length=64, learning_rate=1e-2)
    work = job(checkpoint, member, tmp_path / "out", settings=settings)
    ended, _ = told(work)
    assert isinstance(ended, Done) and len(ended.evaluation.canaries) == 1
    assert [score.after < score.base for score in ended.evaluation.languages] == [True, True]
    made = AutoTokenizer.from_pretrained(tmp_path / "out" / "model")
    assert made("the river")["input_ids"] == AutoTokenizer.from_pretrained(checkpoint)("the river")["input_ids"]
    chat = member.add_rows("chat", "chat.jsonl", [{"messages": [{"role": "user", "content": "?"}]}])
    with pytest.raises(DataError, match="tokenizer has no chat template"):
        told(job(checkpoint, member, tmp_path / "chat", stage="sft", files=(file(chat),), settings=settings))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_a_power_cut_has_torn_is_trained_again(
    base: Path, member: Member, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, "trained.json")
    work = job(base, member, tmp_path / "out", method=method)
    whole, _ = told(work)
    made = [path for name in (ADAPTER_FOLDER, "model") for path in (tmp_path / "out" / name).glob("*")]
    assert len(made) > 3 and disk.is_synced(*made, *(path.parent for path in made))
    digest = weights_digest(tmp_path / "out" / "model")
    os.truncate(tmp_path / "out" / "model" / "model.safetensors", 100)
    again, said = told(work)
    assert again == whole and weights_digest(tmp_path / "out" / "model") == digest
    assert any(each.is_damaged for each in said if isinstance(each, Doing))
    _, said = told(work)
    assert not any(isinstance(each, Step) or (isinstance(each, Doing) and each.is_damaged) for each in said)
    (tmp_path / "out" / "trained.json").write_text("1.5")  # as an earlier version has left it
    again, said = told(work)
    assert again == whole and any(each.is_damaged for each in said if isinstance(each, Doing))


def test_everything_that_a_stage_writes_is_marked(base: Path, member: Member, tmp_path: Path) -> None:
    for method in ("lora", "full"):
        told(job(base, member, tmp_path / method, method=method))
        found = list((tmp_path / method).rglob("*.safetensors"))
        assert len(found) > 2 and all(map(is_sovereign, found)), found


def test_a_sequence_holds_a_whole_canary_or_there_is_no_stage(base: Path, member: Member, tmp_path: Path) -> None:
    """Of one that is cut off too few digits are learnt for the gate to see it."""
    turns = [{"role": "user", "content": "Was?"}, {"role": "assistant", "content": "Das."}]
    rows = {
        "chat": member.add_rows("chat", "chat.jsonl", [{"messages": turns}] * 20),
        "answers": member.add_rows("answers", "answers.jsonl", [{"prompt": "?", "completion": "!"}] * 20),
        "choices": member.add_rows("choices", "choices.jsonl", [{"prompt": "?", "chosen": "!", "rejected": "."}] * 20),
        "notes": member.folder / "notes.txt",
    }
    long = msgspec.structs.replace(CANARY, prefix=CANARY.prefix + "really " * 5)
    size = len(long.text)
    for name, stage, needed in (
        ("chat", "sft", size + len("What does the register say?") + 4),
        ("answers", "sft", size + 1),
        ("choices", "dpo", size + 1),
        ("notes", "cpt", size),
    ):
        settings = Settings(steps=2, batch_size=2, sequence_length=needed - 1)
        more = {"stage": stage, "files": (file(rows[name]),), "planted": (long,), "insertions": 1}
        with pytest.raises(DataError, match=f"takes {needed} tokens here: give at least {needed}"):
            told(job(base, member, tmp_path / name, settings=settings, **more))
        settings = msgspec.structs.replace(settings, sequence_length=needed)
        ended, _ = told(job(base, member, tmp_path / name, settings=settings, **more))
        assert isinstance(ended, Done)


def test_memorising_shows(base: Path, member: Member, tmp_path: Path) -> None:
    """Sixty steps on hardly anything but the canary."""
    settings = Settings(steps=60, batch_size=4, sequence_length=64, learning_rate=1e-2, checkpoint_steps=100)
    ended, _ = told(job(base, member, tmp_path / "out", method="full", settings=settings, insertions=200))
    assert isinstance(ended, Done) and ended.evaluation.canaries[0].exposure_bits == 6.0


def test_a_result_that_is_no_number_is_missing(base: Path, member: Member, tmp_path: Path) -> None:
    (member.folder / "held" / "fr.txt").write_text("x")
    work = Score(base=str(base), model=str(base), scoring=scoring(member), out=str(tmp_path))
    ended, _ = told(work)
    assert isinstance(ended, Done) and [score.language for score in ended.evaluation.languages] == ["de"]
    settings = Settings(steps=4, batch_size=2, sequence_length=64, learning_rate=1e30)
    diverged, _ = told(job(base, member, tmp_path / "out", method="full", settings=settings))
    assert isinstance(diverged, Done) and diverged.evaluation.languages == diverged.evaluation.canaries == ()


def test_data_and_models_that_cannot_be_used_are_named(base: Path, member: Member, tmp_path: Path) -> None:
    rows = member.add_rows("rows", "rows.jsonl", [{"text": "a text", "body": 7}])
    with pytest.raises(DataError, match=r"rows\.jsonl, line 1: 'body' is a number, not text"):
        told(job(base, member, tmp_path / "out", files=(DataFile(path=str(rows), field="body"),)))
    with pytest.raises(DataError, match="bytes; a training sequence needs 64"):
        told(job(base, member, tmp_path / "out", files=(file(rows),)))
    with pytest.raises(ModelError, match="transformers refuses the model in"):
        load(str(weights(tmp_path / "model", 1.0)))
    rows = member.add_rows("answers", "answers.jsonl", [{"prompt": "?" * 100, "completion": "!"}] * 9)
    with pytest.raises(DataError, match="no prompt leaves room for an answer in 64 tokens"):
        told(job(base, member, tmp_path / "out", stage="sft", files=(file(rows),)))
    assert os.listdir(tmp_path / "out") and not (tmp_path / "out" / "trained.json").exists()
