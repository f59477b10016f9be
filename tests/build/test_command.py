"""`tapestry build` given something it cannot use: one sentence, the right exit code, and nothing left behind."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from peers.build.decisions import policies_named
from peers.build.record import read_record, write_record
from peers.cli.app import app
from swarm.errors import StateError
from swarm.state.policies import kept_policies, policy_path
from tests.build.ground import OTHER, OWN, Member
from tests.build.records import record, stage, used, weights


def tapestry(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["build", *(str(word) for word in words)])
    assert result.exit_code == code, result.output
    if code:
        assert result.stderr.startswith("tapestry: ") and result.stderr.count("\n") == 1, result.stderr
    return result.stderr if code else result.stdout


@pytest.fixture
def begun(state: Path, member: Member, tmp_path: Path) -> Path:
    """A build without a stage."""
    build = tmp_path / "acme-1"
    tapestry("new", build, "--base", state, "--data", member.folder, "--member", "acme", "--jurisdiction", "DE")
    return build


def test_a_build_begins_with_what_it_stands_on(begun: Path, state: Path, member: Member) -> None:
    found = read_record(begun)
    assert (found.base.round, found.member, found.jurisdiction) == (2, "acme", "DE")
    assert found.base.checkpoint == str(state) and found.data_folder == str(member.folder)
    assert {path.name for path in begun.iterdir()} == {"base", "build.json", "policies"}
    assert [path.stem for path in (begun / "policies").iterdir()] == [found.policy_digest]
    assert json.loads(tapestry("show", begun, "--json"))["base"]["round"] == 2
    assert "Shared Base of round 2" in tapestry("show", begun) and "no model yet" in tapestry("show", begun)


def test_a_build_that_cannot_begin_leaves_nothing(state: Path, member: Member, tmp_path: Path) -> None:
    build = tmp_path / "acme-1"

    def new(code: int, base: Path = state, data: Path = member.folder, place: Path = build, *more: object) -> str:
        said = tapestry("new", place, "--base", base, "--data", data, *more, code=code)
        assert not build.exists()
        return said

    assert "--base" in new(2, base=tmp_path / "none")
    assert "--data" in new(2, data=tmp_path / "none")
    assert "is not verified" in new(1, base=weights(tmp_path / "found", 1.0))
    assert "end at round 2" in new(1, state, member.folder, build, "--round", 3)
    assert "is not a two-letter" in new(2, state, member.folder, build, "--jurisdiction", "Germany")
    assert "is the data folder" in new(1, place=member.folder / "acme-1")
    pickled = weights(tmp_path / "pickled", 1.0)
    (pickled / "pytorch_model.bin").touch()
    assert "is a pickle file" in new(1, base=pickled)
    member.change(OWN, label=None)
    assert "data without a label is refused" in new(1)
    (member.folder / "policy.toml").unlink()
    assert "data without a label is refused" in new(1)


def test_a_stage_without_its_data_label_is_refused(begun: Path, member: Member) -> None:
    assert "[unlabelled]" in tapestry("cpt", begun, "--data", "somebody's mail", code=1)
    assert "[purpose_mismatch]" in tapestry("cpt", begun, "--data", OTHER, code=1)
    (member.folder / "more.txt").write_text("no label at all")
    assert "[unlabelled]" in tapestry("cpt", begun, "--data", OWN, code=1)
    (member.folder / "more.txt").unlink()
    write_record(
        begun,
        record(
            base=read_record(begun).base,
            jurisdiction="",
            data_folder=str(member.folder),
            policy=str(member.folder / "policy.toml"),
        ),
    )
    assert "[outside_residency]" in tapestry("cpt", begun, "--data", OWN, code=1)
    noted = [json.loads(line) for line in (begun / "decisions.jsonl").read_text().splitlines()]
    assert [entry["decision"].split("/")[0] for entry in noted] == ["denied"] * 3
    assert not (begun / "work").exists() and read_record(begun).stages == ()


def test_every_policy_that_has_decided_can_be_read_later(begun: Path, member: Member) -> None:
    tapestry("cpt", begun, "--data", OTHER, code=1)
    first = (member.folder / "policy.toml").read_text()
    member.change(OTHER, licence="MIT")
    tapestry("cpt", begun, "--data", OTHER, code=1)
    kept = kept_policies(begun)
    assert policies_named(begun) == kept.keys() and len(kept) == 2
    texts = {policy_path(begun, digest).read_text() for digest in kept}
    assert texts == {first, (member.folder / "policy.toml").read_text()}
    assert all(policy_path(begun, digest).stat().st_mode & 0o077 == 0 for digest in kept)
    with (begun / "decisions.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(StateError, match="line 3 is no decision"):
        policies_named(begun)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda member: member.change("held-out German", uses=["shared-base"]), "no held-out text in 'de'"),
        (lambda member: member.change(OTHER, uses=["shared-base"]), "no held-out text in another language"),
        (lambda member: member.change(OTHER, label="sovereign", residency="FR"), "in another language"),
    ],
)
def test_a_result_that_will_be_missing_is_said_before_training(
    begun: Path, member: Member, change: Callable[[Member], None], cause: str
) -> None:
    change(member)
    assert cause in tapestry("cpt", begun, "--data", OWN, "--sequence-length", 64, code=1)
    assert read_record(begun).stages == () and not list((begun / "work").glob("*cpt*"))


def test_what_no_stage_can_do_is_refused_before_training(begun: Path, member: Member, tmp_path: Path) -> None:
    assert "takes 128 tokens" in tapestry("cpt", begun, "--data", OWN, code=1)
    assert "takes rows" in tapestry("sft", begun, "--data", OWN, code=1)
    assert "too few for 2 canaries" in tapestry("cpt", begun, "--data", OWN, "--steps", 1, "--batch-size", 1, code=1)
    assert "would refuse nothing" in tapestry("cpt", begun, "--data", OWN, "--max-exposure-bits", 99, code=1)
    assert "learning_rate is 0" in tapestry("cpt", begun, "--data", OWN, "--learning-rate", 0, code=1)
    assert "see `tapestry --help`" in tapestry("cpt", begun, "--data", OWN, "--method", "magic", code=2)
    assert "does not exist" in tapestry("cpt", tmp_path / "none", "--data", OWN, code=2)
    assert "does not exist" in tapestry("run", begun, "--recipe", tmp_path / "none.toml", code=2)
    assert "holds no build.json" in tapestry("show", member.folder, code=1)
    assert "has no model yet" in tapestry("evaluate", begun, code=1)
    assert "has no model yet" in tapestry("rebase", begun, "--base", begun, "--out", tmp_path / "moved", code=1)


def test_files_of_a_build_that_were_changed_are_noticed(begun: Path) -> None:
    weights_file = begun / "base" / "model.safetensors"
    data = bytearray(weights_file.read_bytes())
    data[-1] ^= 1
    weights_file.write_bytes(data)
    assert "are not those on record" in tapestry("cpt", begun, "--data", OWN, "--sequence-length", 64, code=1)
    (begun / "base" / "optimizer.pt").touch()
    assert "is a pickle file" in tapestry("cpt", begun, "--data", OWN, "--sequence-length", 64, code=1)


def test_another_stage_in_a_stages_place_is_refused(begun: Path, tmp_path: Path) -> None:
    write_record(
        begun,
        record(
            stage(data=(used(OWN),)),
            base=read_record(begun).base,
            data_folder=read_record(begun).data_folder,
            policy=read_record(begun).policy,
        ),
    )
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'version = 1\n[[stage]]\nstage = "cpt"\ndata = ["{OWN}"]\n')
    assert "Begin another build for another recipe" in tapestry("run", begun, "--recipe", recipe, code=1)
