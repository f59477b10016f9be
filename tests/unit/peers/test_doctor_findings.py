"""What `tapestry doctor` makes of what it finds."""

from pathlib import Path

import pytest

from peers.doctor import answers, confinement, machine
from peers.doctor.finding import Verdict
from swarm import events
from swarm.isolation import levels


def test_little_memory_stands_in_the_way() -> None:
    assert machine.memory_of(machine.MIN_MEMORY_BYTES, 8 * 10**9).verdict is Verdict.GOOD
    short = machine.memory_of(machine.MIN_MEMORY_BYTES - 1, 8 * 10**9)
    assert short.verdict is Verdict.WRONG and "of 8.0 GB" in short.found and short.remedy


def test_a_state_folder_that_does_not_exist_yet_is_judged_by_the_one_above_it(tmp_path: Path) -> None:
    assert str(tmp_path) in machine.disk(tmp_path / "not" / "yet").found


def test_a_state_folder_that_cannot_be_written_stands_in_the_way() -> None:
    found = machine.disk(Path("/proc/1"))
    assert found.verdict is Verdict.WRONG and "--state" in found.remedy


def test_few_open_files_are_a_note_that_says_how_to_have_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.resource, "getrlimit", lambda which: (256, 4096))
    found = machine.descriptors()
    assert found.verdict is Verdict.NOTE and "ulimit -n 4096" in found.remedy


@pytest.mark.parametrize("level", levels.LADDER)
def test_every_level_below_confined_is_a_note_with_its_cause(level: str) -> None:
    found = confinement.of_level(level, "because of this")
    assert (found.verdict is Verdict.GOOD) == (level == levels.CONFINED)
    assert "because of this" in found.found + found.remedy


def test_the_launcher_is_really_started_and_says_a_level() -> None:
    found = confinement.trainer()
    assert found.verdict is not Verdict.WRONG and any(level in found.found for level in levels.LADDER)


@pytest.mark.parametrize(("ahead_s", "word"), [(90.0, "90 s ahead"), (-90.0, "90 s behind")])
def test_a_wrong_clock_stands_in_the_way(ahead_s: float, word: str) -> None:
    found = answers.clock([events.ClockWrong(ahead_s=ahead_s, peers=1)])
    assert found.verdict is Verdict.WRONG and word in found.found
    assert answers.clock([]).verdict is Verdict.GOOD


@pytest.mark.parametrize(
    ("how", "verdict"),
    [
        ("direct", Verdict.GOOD),
        ("direct, without lanes", Verdict.NOTE),
        ("behind NAT", Verdict.NOTE),
        ("unknown", Verdict.NOTE),
    ],
)
def test_how_others_reach_this_machine(how: str, verdict: Verdict) -> None:
    found = answers.reachability([events.Reachable(how=how, host="192.0.2.1", relays=(), asked=1)])
    assert found.verdict is verdict
    assert (verdict is Verdict.GOOD) == (found.remedy == "")
