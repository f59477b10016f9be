"""Statements of Sovereign Builds: from build.json down to the charter, and what is refused on the way."""

import json
import shutil
import tarfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from peers.build.decisions import note
from peers.build.record import (
    Base,
    BuildRecord,
    Canaries,
    CanaryScore,
    Evaluation,
    LanguageScore,
    Limits,
    Rebased,
    Result,
    Settings,
    Stage,
    StageName,
    read_record,
    write_record,
)
from peers.build.weights import weights_digest
from peers.leaving.write import Extras, write_bundle
from peers.lineage import dsse
from peers.lineage import statement as statements
from peers.lineage.statement import STATE_DIGEST
from peers.lineage.verify import verify
from swarm.errors import LineageError
from swarm.sovereignty.artefacts import Artefact, DataUsed, is_what_it_says
from swarm.sovereignty.decisions import Decision
from swarm.sovereignty.labels import Label
from swarm.sovereignty.policy import read_policy
from swarm.sovereignty.reasons import Reason
from swarm.sovereignty.uses import Privacy, Use
from swarm.state.disk import replace_file
from swarm.state.tensors import safetensors_parts
from tests.lineage.folders import ME, POLICY, ROUNDS, write_policy
from tests.lineage.test_verify import flip, rewritten, signed, tapestry, with_lineage
from tests.simulation import peer_identity

NAME = "notes of the ministry"
BUILD_POLICY = f"""version = 2
[[dataset]]
name = "{NAME}"
files = ["notes.txt"]
label = "private"
residency = "DE"
licence = "proprietary"
language = "de"
uses = ["sovereign-build"]
"""


def weights(folder: Path, value: float) -> str:
    """A folder with one safetensors file; its digest."""
    folder.mkdir(parents=True)
    replace_file(folder / "model.safetensors", safetensors_parts({"w": np.full(4, value, np.float32)}))
    return weights_digest(folder)


def data(**changed: object) -> DataUsed:
    used = DataUsed(
        name=NAME,
        label=Label.PRIVATE,
        residency="DE",
        licence="proprietary",
        uses=(Use.SOVEREIGN_BUILD,),
        privacy=Privacy.LICENCE,
        digest=f"digest of {NAME}",
    )
    return msgspec.structs.replace(used, **changed)


def stage(build: Path, n: int, name: StageName, parent: str) -> Stage:
    folder = f"{n}-{name}"
    score = LanguageScore(language="de", is_own=True, base=3.0, before=3.0, after=2.5, scored_bytes=100)
    return Stage(
        n=n,
        name=name,
        method="lora",
        data=(data(),),
        settings=Settings(),
        canaries=Canaries(),
        parent=parent,
        result=weights(build / folder, n),
        folder=folder,
        evaluation=Evaluation(
            languages=(score,), canaries=(CanaryScore(rank=9, alternatives=1023, exposure_bits=6.8),)
        ),
        limits=Limits(),
        verdict="accepted",
        reasons=(),
        decision="permit",
        isolation="confined",
        final_loss=1.0,
        started=1.0,
        finished=2.0,
    )


@pytest.fixture
def build(state: Path, key: Path, tmp_path: Path) -> Path:
    """A build of two stages on the Shared Base of the last round."""
    signed(state, key)
    on = json.loads(tapestry("lineage", "show", state, "--json"))["statement"]["predicate"]["base"]
    folder = tmp_path / "acme-1"
    (folder / "base").mkdir(parents=True)
    shutil.copy(state / "shared-base" / "base.safetensors", folder / "base")
    base = Base(
        run_id=on["run_id"],
        round=on["round"],
        record=on["record"],
        state=on["state"],
        checkpoint=str(state),
        weights=weights_digest(folder / "base"),
    )
    first = stage(folder, 1, "cpt", base.weights)
    record = BuildRecord(
        code="0",
        created=0.0,
        base=base,
        member="acme",
        jurisdiction="DE",
        data_folder="text",
        policy=str(write_policy(tmp_path / "policy.toml", BUILD_POLICY)),
        policy_digest="ab" * 32,
        stages=(first, stage(folder, 2, "sft", first.result)),
        result=Result(folder="model", digest=weights(folder / "model", 9.0), stage=2),
    )
    write_record(folder, record)
    return folder


def change(build: Path, **fields: object) -> None:
    write_record(build, msgspec.structs.replace(read_record(build), **fields))


def test_a_build_descends_from_the_base_in_the_chain(build: Path, state: Path, key: Path) -> None:
    tapestry("lineage", "sign", build, "--identity", key)
    found = json.loads(tapestry("lineage", "verify", build, "--state", state, "--json"))
    assert found["kind"] == "build" and found["coverage"]["records"] == ROUNDS == found["coverage"]["means"]
    text = tapestry("lineage", "show", build)
    assert "cpt, lora" in text and "sft, lora" in text and f"Shared Base of round {ROUNDS}" in text
    for form in ("spdx", "cyclonedx", "eu-summary"):
        out = build.parent / form
        tapestry("lineage", "export", build, "--format", form, "--out", out)
        assert NAME not in out.read_text()


def test_private_names_stay_in_the_builds_own_file(build: Path, key: Path) -> None:
    tapestry("lineage", "sign", build, "--identity", key, "--tier", "consortium")
    payload = dsse.read_envelope(build / "model" / "statement.dsse.json")[1].decode()
    assert NAME not in payload and "proprietary" in payload
    (own,) = msgspec.json.decode((build / "artefacts.json").read_bytes(), type=tuple[Artefact, ...])
    assert is_what_it_says(own) and own.source == NAME and own.artifact_id in payload
    assert (build / "artefacts.json").stat().st_mode & 0o077 == 0
    tapestry("lineage", "sign", build, "--identity", key)
    assert own.artifact_id in dsse.read_envelope(build / "model" / "statement.dsse.json")[1].decode()


def test_a_build_leaves_with_its_member(build: Path, state: Path, key: Path, tmp_path: Path) -> None:
    with pytest.raises(LineageError, match="has no statement yet"):
        write_bundle(state, tmp_path / "b.tar", ME, Extras(builds=(build,)), at=0.0)
    tapestry("lineage", "sign", build, "--identity", key)
    (build / "work").mkdir()
    (build / "work" / "optimizer.pt").write_bytes(b"private")
    found = write_bundle(state, tmp_path / "b.tar", ME, Extras(builds=(build,)), at=0.0)
    assert found.models == ("state/shared-base", "builds/acme-1/model")
    assert b"optimizer.pt" not in (tmp_path / "b.tar").read_bytes()


def test_what_decided_in_a_build_leaves_with_it(build: Path, state: Path, key: Path, tmp_path: Path) -> None:
    """Two policies, one after the other in the same file, neither of them in the state folder."""
    file, words = tmp_path / "own.toml", POLICY.replace("CC0-1.0", "MIT")
    for text in (words, words.replace("MIT", "BSD")):
        rules = read_policy(write_policy(file, text))
        decided = Decision("permit", "build", ROUNDS, Reason.ALLOWED, rules.digest)
        note(build, rules, "cpt", (NAME,), decided)
    kept = sorted((build / "policies").iterdir())
    change(build, policy_digest=kept[0].stem)
    tapestry("lineage", "sign", build, "--identity", key)

    def taken(name: str, *policies: Path) -> tuple[int, int]:
        found = write_bundle(state, tmp_path / name, ME, Extras(builds=(build,), policies=policies), at=0.0)
        return found.policies, found.policies_missing

    assert taken("whole.tar") == (4, 0), "the session's and the signature's as well"
    with tarfile.open(tmp_path / "whole.tar") as tar:
        assert {f"builds/acme-1/policies/{path.name}" for path in kept} <= set(tar.getnames())
    gone = kept[0].rename(tmp_path / "gone.toml")
    assert taken("without.tar") == (3, 1)
    assert taken("given.tar", gone) == (4, 0)
    kept[0].write_text(kept[1].read_text())
    with pytest.raises(LineageError, match=r"builds/acme-1/policies/.* is not the policy that its name says"):
        taken("changed.tar")
    kept[0].unlink()
    (build / "decisions.jsonl").write_text("{}\n")
    with pytest.raises(LineageError, match="line 1 is no decision"):
        taken("damaged.tar")


def test_what_is_no_finished_build_on_this_chain_is_not_signed(build: Path, key: Path, tmp_path: Path) -> None:
    def refused(code: int = 1) -> str:
        return tapestry("lineage", "sign", build, "--identity", key, code=code)

    whole = read_record(build)
    first, last = whole.stages
    cases: list[tuple[dict[str, object], str]] = [
        ({"result": None}, "has no result yet"),
        ({"stages": (first, msgspec.structs.replace(last, parent="dd" * 32))}, "a missing parent: stage sft"),
        ({"stages": (msgspec.structs.replace(first, data=(data(uses=(Use.EVALUATION,)),)),)}, "may not be used for"),
        ({"stages": (first, msgspec.structs.replace(last, result="dd" * 32))}, "are not those on record"),
        ({"base": msgspec.structs.replace(whole.base, state="00" * 32)}, "is not the state of round"),
        ({"base": msgspec.structs.replace(whole.base, run_id="00" * 32)}, "is the charter of run"),
        ({"base": msgspec.structs.replace(whole.base, round=ROUNDS + 1)}, "is missing"),
    ]
    for fields, cause in cases:
        change(build, **fields)
        assert cause in refused()
        write_record(build, whole)
    change(build, base=msgspec.structs.replace(whole.base, checkpoint=str(tmp_path)))
    assert "give --state" in refused(2)
    (build / "model" / "adapter.bin").write_bytes(b"")
    assert "can run code" in refused()
    assert "does not exist" in tapestry("lineage", "sign", tmp_path / "none", "--identity", key, code=2)


def test_a_base_that_is_not_the_shared_base_is_not_signed(build: Path, key: Path) -> None:
    flip(build / "base" / "base.safetensors", -1)
    assert "are not those on record" in tapestry("lineage", "sign", build, "--identity", key, code=1)
    whole = read_record(build)
    first, last = whole.stages
    base = msgspec.structs.replace(whole.base, weights=weights_digest(build / "base"))
    change(build, base=base, stages=(msgspec.structs.replace(first, parent=base.weights), last))
    assert "is not the state of round" in tapestry("lineage", "sign", build, "--identity", key, code=1)


def test_no_run_begins_with_a_build(build: Path, key: Path, tmp_path: Path) -> None:
    tapestry("lineage", "sign", build, "--identity", key)
    adopted, shared = build / "model" / "model.safetensors", tmp_path / "state" / "shared-base" / "base.safetensors"
    people = ("--member", f"acme={ME.peer_id}", "--founder", ME.peer_id, "--genesis", peer_identity(1).peer_id)
    words = ("charter", "new", tmp_path / "c.toml", "--name", "next", "--region", "eu=DE", *people, "--adopt")
    assert "a private parent inside a shared model" in tapestry(*words, adopted, code=1)
    tapestry(*words, shared)


def test_a_rebased_build_names_where_it_was_trained(build: Path, state: Path, key: Path) -> None:
    whole, earlier = read_record(build), first_base(build, state, key)
    first, last = whole.stages
    stages = (msgspec.structs.replace(first, parent=earlier.weights), last)
    change(build, stages=stages)
    assert "a missing parent: stage cpt" in tapestry("lineage", "sign", build, "--identity", key, code=1)
    change(build, rebased=Rebased(base=earlier, build="33" * 32, scores=(), stages=2))
    tapestry("lineage", "sign", build, "--identity", key)
    text = tapestry("lineage", "show", build)
    assert "the build on round 1 that was rebased" in text
    assert "Shared Base of round 1, on which stages 1 to 2 were trained" in text
    assert "word alone" not in tapestry("lineage", "verify", build, "--state", state)
    file = build / "model" / "statement.dsse.json"
    lineage = statements.decode(dsse.read_envelope(file)[1], "here").predicate
    base, old, *rest = lineage.parents
    for lying, cause in (
        (msgspec.structs.replace(old, digest={STATE_DIGEST: "11" * 32}), "a missing parent"),
        (msgspec.structs.replace(old, relation="withdrawn"), "is said to be withdrawn"),
    ):
        rewritten(file, with_lineage(parents=(base, lying, *rest)))
        for where in (file, build):
            assert cause in tapestry("lineage", "verify", where, "--state", state, code=1)


def test_a_base_that_the_chain_has_left_behind_is_named_as_that(
    build: Path, state: Path, key: Path, tmp_path: Path
) -> None:
    """As after the founders' restart, or where a heavier partition was taken over."""
    gone = msgspec.structs.replace(read_record(build).base, round=ROUNDS, state="11" * 32, weights="22" * 32)
    change(build, rebased=Rebased(base=gone, build="33" * 32, scores=(), stages=1))
    tapestry("lineage", "sign", build, "--identity", key)
    said = f"Shared Base of round {ROUNDS}, on which stage 1 was trained, whose round was taken back since"
    assert f"withdrawn: {said}" in tapestry("lineage", "show", build)
    assert f"by the signer's word alone: {said}" in tapestry("lineage", "verify", build, "--state", state)
    found = write_bundle(state, tmp_path / "b.tar", ME, Extras(builds=(build,)), at=0.0)
    assert found.models == ("state/shared-base", "builds/acme-1/model")


def test_where_stages_were_trained_must_be_sayable(build: Path, state: Path, key: Path) -> None:
    def refused(base: Base) -> str:
        change(build, rebased=Rebased(base=base, build="33" * 32, scores=(), stages=1))
        return tapestry("lineage", "sign", build, "--identity", key, code=1)

    base = read_record(build).base
    assert "which is no parent in run" in refused(msgspec.structs.replace(base, run_id="00" * 32))
    ahead = refused(msgspec.structs.replace(base, round=ROUNDS + 2, state="11" * 32))
    assert f"end at round {ROUNDS}, before round {ROUNDS + 2}" in ahead and "give --state" in ahead
    earlier = first_base(build, state, key)
    shutil.rmtree(build / "base")
    shutil.copytree(state.parent / "earlier" / "shared-base", build / "base")
    (build / "base" / "statement.dsse.json").unlink()
    earlier = msgspec.structs.replace(earlier, weights=weights_digest(build / "base"))
    first, last = read_record(build).stages
    change(build, base=earlier, stages=(msgspec.structs.replace(first, parent=earlier.weights), last))
    assert f"was rebased to round 1, and round {ROUNDS}" in refused(base)


def test_data_that_is_not_for_builds_any_more_is_not_signed_for(build: Path, key: Path, tmp_path: Path) -> None:
    tapestry("lineage", "sign", build, "--identity", key)
    policy = tmp_path / "policy.toml"
    policy.write_text(policy.read_text().replace("sovereign-build", "evaluation"))
    said = tapestry("lineage", "sign", build, "--identity", key, code=1)
    assert f"{NAME}, which stage 1-cpt was trained on, may be used for evaluation" in said
    assert said.endswith("[purpose_mismatch]\n")
    policy.unlink()
    assert "does not exist: put it back" in tapestry("lineage", "sign", build, "--identity", key, code=2)


def first_base(build: Path, state: Path, key: Path) -> Base:
    """The base of round 1, of which the folder `earlier` beside the state folder has an export afterwards."""
    made = json.loads(tapestry("lineage", "sign", "--state", earlier_state(state), "--identity", key, "--json"))
    record = verify(state.parent / "earlier", None, None).statement.predicate.base.record
    return msgspec.structs.replace(
        read_record(build).base, round=1, state=made["state_digest"], record=record, weights="22" * 32
    )


def earlier_state(state: Path) -> Path:
    """The same peer's folder four rounds before."""
    folder = Path(shutil.copytree(state, state.parent / "earlier"))
    for path in [*(folder / "records").iterdir(), *(folder / "results").iterdir()]:
        if int(path.name[:9]) > 1:
            path.unlink()
    return folder


def test_the_base_beside_a_build_is_looked_at(build: Path, state: Path, key: Path) -> None:
    tapestry("lineage", "sign", build, "--identity", key)
    assert "it began from the base, bit for bit" in tapestry("lineage", "verify", build, "--state", state)
    alone = tapestry("lineage", "verify", build / "model" / "statement.dsse.json", "--state", state)
    assert "it began from the base, bit for bit" in alone
    flip(build / "base" / "base.safetensors", -1)
    assert "are not those on record" in tapestry("lineage", "verify", build, "--state", state, code=1)
    shutil.rmtree(build / "base")
    assert "weights not compared with the base" in tapestry("lineage", "verify", build, "--state", state)
