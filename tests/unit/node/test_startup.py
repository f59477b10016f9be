"""The parts of a start: they add up, and are said once, at the first commit that counts this peer."""

import pytest

from swarm import events
from swarm.node.startup import Startup

ME, OTHER = "me", "other"


def _committed(number: int, *contributors: str) -> events.RoundCommitted:
    return events.RoundCommitted(
        round=number, attempt=1, peers=(ME, OTHER), contributors=contributors, voters=2, state_digest="", seconds=1.0
    )


def _update(number: int) -> events.UpdateReady:
    return events.UpdateReady(round=number, tokens=1, loss=1.0, steps=1)


_COMING_UP = (
    events.CharterReady(path="", run_id="", parameters=1, trust="pinned"),
    events.NodeStarted(
        peer=ME, run_id="", region="", member="", address="", min_contributors=1, electors=1, witnesses=0, admission=""
    ),
    events.StateReady(round=4, digest="", source="download", bytes_received=1, seconds=1.0),
    events.TrainerReady(isolation="", detail=""),
)


class _Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_the_parts_add_up_to_the_time_until_the_first_counted_contribution() -> None:
    clock = _Clock()
    startup = Startup(97.0, clock)
    clock.now_s = 101.0
    startup.reached()
    startup.trainer_imports_s = 5.5
    said: list[events.FirstCounted | None] = []
    # A round that others committed without this peer is part of its wait; the one after its first is not.
    story = (*_COMING_UP, _update(5), _committed(5, OTHER), _update(6), _committed(6, OTHER, ME), _committed(7, ME))
    for event in story:
        clock.now_s += 1.0
        said.append(startup.see(event))
    assert [event is not None for event in said] == [False] * 7 + [True, False]
    counted = said[7]
    assert counted is not None
    parts_s = {
        "imports_s": 3.0, "daemon_s": 1.0, "charter_s": 1.0, "directory_s": 1.0, "state_s": 1.0, "steps_s": 2.0,
        "round_s": 3.0,
    }  # fmt: skip
    assert {name: getattr(counted, name) for name in parts_s} == parts_s
    assert counted.seconds == pytest.approx(sum(parts_s.values()))
    assert (counted.round, counted.trainer_imports_s) == (6, 5.5)
