"""What a member's policy lets a build train on, and score on: every rule with the code of its refusal."""

import pytest

from peers.build.record import BuildRecord
from peers.build.sources import Ground, decide, held_out_files, own_languages, read_ground, refusal, training_files
from swarm.errors import DataError, PolicyError, UnlabelledDataError
from swarm.sovereignty.labels import Label
from swarm.sovereignty.reasons import Reason
from swarm.sovereignty.uses import Use
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


def test_data_that_may_be_used_together_nowhere_goes_into_no_build(member: Member) -> None:
    foreign = used("archive", Label.SOVEREIGN, residency="FR")
    code, reason = refused(member, OWN, record(stage(data=(foreign,))))
    assert code == Reason.OUTSIDE_RESIDENCY and "together nowhere" in reason
    withdrawn = used("archive", uses=(Use.EVALUATION,))
    assert refused(member, OWN, record(stage(data=(withdrawn,))))[0] == Reason.PURPOSE_MISMATCH


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
