"""The length of a round from the paces in the last roster."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.node.round_length import LARGEST_PACE, LONGEST_S, another_fits, is_round_over, planned_s, swarm_pace


@pytest.mark.parametrize(
    ("target", "paces", "seconds"),
    [
        (0, [100.0], None),  # counted in inner steps
        (1000, [], None),  # the first round
        (1000, [0.0, 0.0], None),
        (1000, [100.0], 10.0),
        (1000, [50.0, 50.0], 10.0),
        (1100, [100.0, 10.0], 10.0),
        (1000, [100.0, 0.0], 10.0),  # who does not say counts for nothing
        (10**12, [1.0], LONGEST_S),
    ],
)
def test_a_round_is_as_long_as_all_together_need_for_the_target(
    target: int, paces: list[float], seconds: float | None
) -> None:
    assert planned_s(target, paces) == seconds


@given(paces=st.lists(st.floats(0.1, 1e6), min_size=2, max_size=20), boast=st.floats(1e7, 1e12))
def test_one_boast_shortens_a_round_by_a_bounded_factor(paces: list[float], boast: float) -> None:
    """However fast one says it is, it counts for at most 32 of the lower median, so of the others' sum and its own."""
    middle = sorted([*paces, boast])[len(paces) // 2]
    assert swarm_pace([*paces, boast]) <= sum(paces) + LARGEST_PACE * middle * 1.001


def test_a_step_is_begun_if_it_ends_in_time_or_a_hundredth_later() -> None:
    assert another_fits(elapsed_s=9.0, step_s=1.0, planned_s=10.0)
    assert another_fits(elapsed_s=9.0, step_s=1.09, planned_s=10.0)
    assert not another_fits(elapsed_s=9.0, step_s=1.11, planned_s=10.0)


def entry(
    number: int, phase: str, *, round_number: int = 5, tokens: int = 0, at_s: float = 1000.0
) -> wire.Announcement:
    return wire.Announcement(
        run_id="r",
        peer=PeerId(f"p{number}"),
        region="eu",
        passport=b"",
        addresses=(),
        round=round_number,
        tokens=tokens,
        tokens_per_s=10.0,
        phase=phase,
        dialable=True,
        relays=(),
        at=at_s,
    )


@pytest.mark.parametrize(
    ("entries", "is_over"),
    [
        ([], False),
        ([entry(0, "ready")], False),
        ([entry(0, "ready"), entry(1, "ready")], True),  # half of four
        ([entry(0, "ready"), entry(1, "ready", round_number=4)], False),
        ([entry(0, "ready"), entry(7, "ready")], False),  # a newcomer has no voice in it
        ([entry(0, "training", tokens=540), entry(1, "training", tokens=540)], False),
        ([entry(0, "training", tokens=560), entry(7, "training", tokens=560)], True),  # but its tokens count
        ([entry(0, "training", tokens=1060, at_s=995.0)], True),
        ([entry(0, "training", tokens=1060, at_s=400.0)], True),  # carried forward by five seconds, whatever clocks say
        ([entry(0, "training", tokens=1040, at_s=400.0)], False),
        ([entry(0, "training", tokens=1090, at_s=2000.0)], False),
    ],
)
def test_announced_progress_ends_a_round(entries: list[wire.Announcement], is_over: bool) -> None:
    electors = {PeerId(f"p{number}") for number in range(4)}
    announced = {one.peer: one for one in entries}
    assert is_round_over(1000, 5, electors, announced, 1000.0) == is_over
    assert not is_round_over(0, 5, electors, announced, 1000.0)
