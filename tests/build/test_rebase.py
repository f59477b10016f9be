"""Which builds are put on which Shared Base, what is refused before anything is done, and what is said of it later."""

import json
from pathlib import Path

import msgspec
import pytest

from peers.build.confined import BuildError, Ended
from peers.build.jobs import WEIGHTS_FOLDER, Done, Rebase
from peers.build.rebase import rebase
from peers.build.recipe import Asked
from peers.build.record import Canaries, Evaluation, Limits, Result, Settings, Stage, read_record, write_record
from peers.build.stages import run_stage
from peers.build.weights import weights_digest
from peers.extraction import new_canaries, write_canaries
from swarm.errors import PolicyError, UsageError
from tests.build.ground import OWN, ROUNDS, Member, text
from tests.build.records import GOOD, score, stage, used, weights
from tests.build.test_command import tapestry


@pytest.fixture
def build(state: Path, member: Member, tmp_path: Path) -> Path:
    """A finished build of one adapter on round 1, which nobody has trained."""
    build = tmp_path / "acme-1"
    tapestry("new", build, "--base", state, "--round", 1, "--data", member.folder, "--jurisdiction", "DE")
    record = read_record(build)
    result = Result(folder="model", digest=weights_digest(weights(build / "model", 9.0)), stage=1)
    made = adapter(build, 1, record.base.weights)
    write_record(build, msgspec.structs.replace(record, stages=(made,), result=result))
    return build


def adapter(build: Path, n: int, parent: str) -> Stage:
    folder = weights(build / f"{n}-cpt", n, "adapter_model.safetensors")
    write_canaries(folder / "canaries.json", new_canaries(1))
    return stage(n, parent, result=weights_digest(folder), data=(used(OWN),))


def change(build: Path, **fields: object) -> None:
    record = read_record(build)
    write_record(build, msgspec.structs.replace(record, base=msgspec.structs.replace(record.base, **fields)))


def refused(build: Path, source: Path, round_number: int | None, error: type[Exception] = BuildError) -> str:
    out = build.with_name("moved")
    with pytest.raises(error) as caught:
        rebase(build, source, round_number, out, lambda _: None)
    assert not out.exists()
    return str(caught.value)


def is_taken(build: Path, source: Path, round_number: int | None, tmp_path: Path) -> bool:
    """Whether nothing is wrong but the place of the new build, which is looked at next."""
    with pytest.raises(UsageError, match="exists already"):
        rebase(build, source, round_number, tmp_path, lambda _: None)
    return True


def test_what_could_never_be_signed_is_not_begun(build: Path, state: Path) -> None:
    base = read_record(build).base
    assert "stands on that Shared Base already" in refused(build, state, 1)
    assert "round 0 is older than round 1" in refused(build, state, 0)
    change(build, run_id="00" * 32)
    assert f"stands on one of run {'00' * 32}" in refused(build, state, 2)
    change(build, run_id=base.run_id, round=ROUNDS + 3, state="11" * 32)
    said = refused(build, state, 2)
    assert f"end at round {ROUNDS}, before round {ROUNDS + 3}" in said and "--base" in said


def test_a_build_on_a_round_that_was_taken_back_is_rebased_all_the_same(
    build: Path, state: Path, tmp_path: Path
) -> None:
    """After the founders' restart the base may even be of a lower round."""
    assert is_taken(build, state, 2, tmp_path)
    change(build, round=2, state="11" * 32)
    assert is_taken(build, state, 2, tmp_path) and is_taken(build, state, 1, tmp_path)


def test_data_that_is_not_for_builds_any_more_goes_into_no_rebase(build: Path, state: Path, member: Member) -> None:
    member.add("more notes", "more.txt", text("de", 8))
    member.change(OWN, uses=["evaluation"])
    said = refused(build, state, 2, PolicyError)
    assert said.startswith(f"{OWN}, which stage 1-cpt was trained on,") and said.endswith("[purpose_mismatch]")
    noted = json.loads((build / "decisions.jsonl").read_text())
    assert (noted["stage"], noted["data"]) == ("rebase", [OWN]) and noted["decision"].startswith("denied/build/1/")
    assert "which stage 1-cpt was trained on," in tapestry("cpt", build, "--data", "more notes", code=1)


def moved(build: Path, state: Path, monkeypatch: pytest.MonkeyPatch, name: str, found: Evaluation = GOOD) -> Path:
    """The build rebased to the last round, without a model that could be scored."""
    out = build.with_name(name)

    def ended(job: Rebase, folder: Path, **_: object) -> Ended:
        weights(Path(job.out) / WEIGHTS_FOLDER, 5.0)
        return Ended(Done(evaluation=found), "none")

    monkeypatch.setattr("peers.build.rebase.run_confined", ended)
    rebase(build, state, None, out, lambda _: None)
    return out


def test_a_rebase_that_was_refused_is_not_trained_on(build: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Evaluation(languages=(score("de", 2.5, is_own=True), score("fr", 9.0)), canaries=GOOD.canaries)
    out = moved(build, state, monkeypatch, "refused", bad)
    assert read_record(out).accepted == () and read_record(out).rebased is not None
    asked = Asked("cpt", (OWN,), "lora", Settings(sequence_length=64), Canaries(), Limits())
    with pytest.raises(BuildError, match=r"the gate refused .* when it was rebased"):
        run_stage(out, asked, lambda _: None)
    assert not list((out / "work").glob("*cpt*"))


def test_each_stage_is_said_to_be_trained_where_it_was(
    build: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_record(build)
    once = moved(build, state, monkeypatch, "once")
    ((place, stages),) = read_record(once).moves
    assert (place.base, [each.n for each in stages]) == (first.base, [1])
    assert first.result is not None and place.build == first.result.digest
    assert "Stage 1 was trained on the base of round 1" in (once / "model" / "README.md").read_text()

    # Back on round 1, as if that were newer: with no stage added, its stages were still trained where they were.
    change(once, round=1, state="11" * 32)
    ((place, stages),) = read_record(moved(once, state, monkeypatch, "twice")).moves
    assert place.base == first.base and len(stages) == 1

    record = read_record(once)
    added = adapter(once, 2, record.tip)
    write_record(once, msgspec.structs.replace(record, stages=(*record.stages, added)))
    found = read_record(moved(once, state, monkeypatch, "later")).moves
    assert [(place.base, [each.n for each in stages]) for place, stages in found] == [
        (first.base, [1]),
        (record.base, [2]),
    ]
