"""The model card and the lines for people: what is said of a build, and what is not."""

import io

import msgspec
from rich.console import Console

from peers.build.card import model_card
from peers.build.jobs import Confined, Doing, Step
from peers.build.record import Rebased
from peers.build.table import Progress, record_lines, score_table
from swarm.sovereignty.labels import Label
from tests.build.records import GOOD, record, score, stage, used

PRIVATE = used("notes of the ministry", Label.PRIVATE, licence="proprietary")
OPEN = used("manuals")


def test_a_card_names_open_data_only() -> None:
    card = model_card(record(stage(data=(PRIVATE, OPEN))), "acme-1")
    assert card.startswith("---\nlibrary_name: transformers\n") and "# acme-1" in card and "language: [de]" in card
    assert OPEN.name in card and OPEN.digest in card
    assert PRIVATE.name not in card and PRIVATE.digest not in card
    assert "label private, residency DE, licences CC0-1.0, proprietary" in card


def test_a_card_says_what_was_measured() -> None:
    card = model_card(record(stage()), "acme-1")
    assert "| de | yes | 3.000 | 2.500 |" in card and "| fr | no | 3.000 | 3.100 |" in card
    assert "the highest exposure is 2.0 bits" in card and "needs at most 1.033 times" in card
    base = record().base
    assert "re-applied" not in card
    there = Rebased(base=base, build="44" * 32, scores=GOOD.languages, stages=1)
    moved = record(stage(), stage(2, parent="result 1"), rebased=there)
    said = f"Stage 1 was trained on the base of round {base.round} and re-applied to this one"
    assert said in model_card(moved, "acme-2")
    assert f"rebased: stage 1 was trained on round {base.round}" in record_lines(moved)


def shown(*parts: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    for part in parts:
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_table_says_what_was_gained_and_lost() -> None:
    scores = [score("fr", 3.1), score("ja", 3.0001), score("de", 2.5, is_own=True)]
    rows = shown(score_table(scores, {"base": "new Shared Base", "before": "before", "after": "rebased"})).splitlines()
    assert "new Shared Base" in rows[1] and "rebased" in rows[1]
    assert "de (own)" in rows[3] and "-0.500 gained" in rows[3]
    assert "fr" in rows[4] and "+0.100 lost" in rows[4]
    assert "ja" in rows[5] and "gained" not in rows[5] and "lost" not in rows[5]
    assert "before" not in shown(score_table(scores, {"base": "Shared Base", "after": "model"}))


def test_a_refused_stage_is_shown_with_its_reasons() -> None:
    lines = record_lines(record(stage(), stage(2, verdict="refused", reasons=("fr: too much",))))
    assert "  refused: fr: too much" in lines and lines[-1] == "no model yet"
    assert "other languages at most 1.033 times the Shared Base; highest canary exposure 2.0 bits" in lines[1]


def test_progress_is_a_few_lines_where_there_is_no_terminal() -> None:
    console = Console(file=io.StringIO(), width=200)
    show = Progress(console, "cpt").show
    show(Confined("confined", "all of it"))
    show(Doing(what="training", resumed_step=20, left_out=3))
    for step in range(21, 101):
        show(Step(step=step, steps=100, loss=2.0))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "cpt: isolation: confined (all of it)"
    assert "cpt: going on from the checkpoint of step 20" in lines
    assert "cpt: 3 examples left out: their prompts leave no room in a sequence" in lines
    assert lines[-1] == "cpt: step 100 of 100, loss 2.000" and len(lines) < 15


def test_only_what_was_trained_elsewhere_is_said_to_be() -> None:
    """Also on records of before, which do not count the stages that were put on another base."""
    base = record().base
    earlier = msgspec.structs.replace(base, round=1)
    there = Rebased(base=base, build="44" * 32, scores=GOOD.languages)
    added = stage(2, parent="result 1", finished=9.0)
    old = record(stage(finished=2.0), added, rebased=there, created=3.0)
    assert "- Stage 1 was trained on the base of round 2 and" in model_card(old, "acme-2")
    in_place = record(stage(finished=9.0), rebased=there, created=3.0)
    assert "re-applied" not in model_card(in_place, "acme-2")
    twice = msgspec.structs.replace(
        there, stages=3, earlier=Rebased(base=earlier, build="55" * 32, scores=(), stages=2)
    )
    stages = (stage(), stage(2), stage(3), stage(4))
    lines = model_card(record(*stages, rebased=twice), "acme-3").splitlines()
    assert [line for line in lines if "re-applied" in line] == [
        "- Stages 1 to 2 were trained on the base of round 1 and re-applied to this one.",
        "- Stage 3 was trained on the base of round 2 and re-applied to this one.",
    ]
