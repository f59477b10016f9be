"""What a member's policy lets a build train on, and score on: every rule with the code of its refusal."""

import json
from pathlib import Path

import pytest

from peers.build.record import BuildRecord
from peers.build.sources import (
    Ground,
    decide,
    held_out_files,
    own_languages,
    read_ground,
    refusal,
    require_allowed,
    training_files,
)
from peers.fingerprint import data_used
from swarm.errors import DataError, PolicyError, UnlabelledDataError
from swarm.sovereignty.reasons import Reason
from tests.build.ground import OTHER, OWN, Member, text
from tests.build.records import record, stage, used

FRESH = record()


def ground(member: Member) -> Ground:
    return read_ground(member.folder, member.folder / "policy.toml")


def refused(member: Member, name: str, build: BuildRecord = FRESH) -> tuple[str, str]:
    decision = decide(ground(member), [name], build)
    assert decision.verdict == "denied"
    return decision.code, decision.reason


def test_private_data_may_be_built_on_at_home(member: Member) -> None:
    found = ground(member)
    decision = decide(found, [OWN], FRESH)
    assert (decision.verdict, decision.code) == ("permit", Reason.ALLOWED)
    assert decision.policy == found.policy.digest and found.policy.digest in decision.line
    assert [file.path.name for file in training_files(found, "cpt", [OWN])] == ["notes.txt"]


def test_each_rule_refuses_with_its_code(member: Member) -> None:
    code, reason = refused(member, "no such data")
    assert code == Reason.UNLABELLED and "is no data set of" in reason and OWN in reason
    assert refused(member, OTHER)[0] == Reason.PURPOSE_MISMATCH
    assert refused(member, OWN, record(jurisdiction="JP"))[0] == Reason.OUTSIDE_RESIDENCY
    code, reason = refused(member, OWN, record(jurisdiction=""))
    assert code == Reason.OUTSIDE_RESIDENCY and "unknown" in reason
    member.change(OWN, privacy="enclave")
    assert refused(member, OWN)[0] == Reason.PRIVACY_MISSING


def test_what_stages_were_trained_on_is_judged_by_the_policy_of_now(member: Member, tmp_path: Path) -> None:
    """On record it is as it was when the stage passed."""
    member.add("archive", "archive.txt", text("de", 7), label="sovereign")
    build = record(stage(data=data_used(member.folder, training_files(ground(member), "cpt", ["archive"]), tmp_path)))
    assert decide(ground(member), [OWN], build).verdict == decide(ground(member), [], build).verdict == "permit"
    for change, expected, cause in (
        ({"uses": ["evaluation"]}, Reason.PURPOSE_MISMATCH, "may be used for evaluation, not for sovereign-build"),
        ({"privacy": "enclave"}, Reason.PRIVACY_MISSING, "in an attested enclave only"),
        ({"residency": "FR"}, Reason.OUTSIDE_RESIDENCY, "data of FR; the jurisdiction of this machine is DE"),
    ):
        before = dict(member.policy["archive"])
        member.change("archive", **change)
        for names in ([OWN], []):
            decision = decide(ground(member), names, build)
            assert decision.code == expected and cause in decision.reason, decision
            assert decision.reason.startswith("archive, which stage 1-cpt was trained on,")
        member.change("archive", **before, privacy=None)
    del member.policy["archive"]
    member.write_policy()
    (member.folder / "archive.txt").unlink()
    decision = decide(ground(member), [], build)
    assert decision.code == Reason.UNLABELLED and "any more" in decision.reason


def test_data_that_is_gone_from_the_disk_keeps_its_label(member: Member, tmp_path: Path) -> None:
    path = member.add("archive", "archive.txt", text("de", 7))
    build = record(stage(data=data_used(member.folder, training_files(ground(member), "cpt", ["archive"]), tmp_path)))
    path.unlink()
    assert decide(ground(member), [OWN], build).verdict == "permit"
    assert refused(member, "archive", build)[0] == Reason.UNLABELLED


def test_a_decision_is_noted_before_it_ends_a_command(member: Member, tmp_path: Path) -> None:
    build = record(stage(data=(used(OTHER),)))
    with pytest.raises(PolicyError, match=r"which stage 1-cpt was trained on, .* \[purpose_mismatch\]"):
        require_allowed(tmp_path, ground(member), (), build, "sign")
    assert require_allowed(tmp_path, ground(member), [OWN], FRESH, "cpt").verdict == "permit"
    noted = [json.loads(line) for line in (tmp_path / "decisions.jsonl").read_text().splitlines()]
    assert [(entry["stage"], entry["data"]) for entry in noted] == [("sign", [OTHER]), ("cpt", [OWN])]
    assert [entry["decision"].split("/")[0] for entry in noted] == ["denied", "permit"]


def test_a_refusal_ends_in_its_code(member: Member) -> None:
    error = refusal(decide(ground(member), [OTHER], FRESH))
    assert type(error) is PolicyError and str(error).endswith("[purpose_mismatch]")
    error = refusal(decide(ground(member), ["no such data"], FRESH))
    assert type(error) is UnlabelledDataError and "data without a label is refused" in str(error)


def test_a_policy_without_labels_is_no_ground(member: Member) -> None:
    (member.folder / "more.txt").write_text("no label at all")
    with pytest.raises(UnlabelledDataError, match=r"more\.txt has no label"):
        ground(member)
    (member.folder / "more.txt").unlink()
    member.change(OWN, label=None)
    with pytest.raises(UnlabelledDataError, match="data without a label is refused"):
        ground(member)


def test_held_out_text_is_what_no_stage_has_trained_on(member: Member) -> None:
    def languages(names: list[str], build: BuildRecord = FRESH) -> list[str]:
        return list(held_out_files(ground(member), names, build))

    assert languages([OWN]) == ["de", "fr"]
    member.change(OTHER, uses=["evaluation", "sovereign-build"])
    assert languages([OTHER]) == ["de"]
    assert languages([OWN], record(stage(data=(used(OTHER),)))) == ["de"]
    member.change(OTHER, label="sovereign", residency="FR")
    assert languages([OWN]) == ["de"]
    member.add("more French", "held/more.txt", text("fr", 9), uses=["evaluation"], language="fr")
    (file,) = held_out_files(ground(member), [OWN], FRESH)["fr"]
    assert file.path.endswith("more.txt") and file.field == "text"


def test_languages_stay_the_members_own_whatever_the_policy_says_later(member: Member) -> None:
    assert own_languages(ground(member), [OWN], FRESH) == {"de"}
    member.add("recordings", "ja.txt", text("fr", 4), language="ja")
    assert own_languages(ground(member), ["recordings"], record(stage(data=(used("gone"),)))) == {"de", "ja"}


def test_instructions_are_rows(member: Member) -> None:
    with pytest.raises(DataError, match="the stage sft takes rows"):
        training_files(ground(member), "sft", [OWN])
    member.add_rows("answers", "answers.jsonl", [{"prompt": "?", "completion": "!"}])
    assert len(training_files(ground(member), "sft", ["answers"])) == 1
