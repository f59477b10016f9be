"""The soak's own judgement: what it does next, what it takes for divergence, and what it takes for growth."""

import random

import pytest

from swarm import events
from tests.soak.goodput import goodput, longest_gap_s
from tests.soak.growth import Bound, beyond, trend
from tests.soak.schedule import Join, Kill, Stand, crowded, decide, majority
from tests.soak.watch import DivergedError, Watch

NAMES = [f"p{number}" for number in range(8)]
ELDERS = frozenset(NAMES[:2])
MEMBERS = {name: f"the member of {name}" for name in NAMES}


def _stand(alive: list[str], electors: list[str], most: int = 8, members: dict[str, str] | None = None) -> Stand:
    return Stand(
        alive=set(alive),
        dead=set(NAMES) - set(alive),
        elders=ELDERS,
        electors=set(electors),
        ready=set(alive),
        members=MEMBERS if members is None else members,
        most=most,
    )


def _draws(stand: Stand, count: int = 500) -> list[Join | Kill | None]:
    draw = random.Random(1)
    return [decide(draw, stand) for _ in range(count)]


def test_joins_and_kills_are_six_to_four_and_elders_are_never_killed() -> None:
    found = _draws(_stand(NAMES[:7], NAMES[:7]))
    joins = [each for each in found if isinstance(each, Join)]
    assert 0.5 < len(joins) / len(found) < 0.7
    assert {None, NAMES[7]} == {each.name for each in joins}
    killed = {each.name for each in found if isinstance(each, Kill)}
    assert killed == set(NAMES[2:7])


def test_a_full_swarm_is_joined_by_nobody() -> None:
    assert all(isinstance(each, Kill) for each in _draws(_stand(NAMES, NAMES)))


def test_no_kill_takes_the_quorum_and_the_electors_are_called_back() -> None:
    # Seven electors and a witness: five votes are needed, and four electors live.
    stand = _stand(NAMES[:4], NAMES[:7])
    assert stand.is_thin
    assert {each.name for each in _draws(stand) if isinstance(each, Join)} == set(NAMES[4:7])
    assert all(isinstance(each, Join) for each in _draws(stand))
    newcomer = _stand([*NAMES[:4], NAMES[7]], NAMES[:7])
    assert {each.name for each in _draws(newcomer) if isinstance(each, Kill)} == {NAMES[7]}


def test_a_majority_is_as_many_as_leave_no_quorum() -> None:
    stand = _stand(NAMES, NAMES[:7])
    doomed = majority(random.Random(1), stand)
    # Seven electors and a witness: four votes are one too few.
    assert doomed is not None and not ELDERS & set(doomed) and len(doomed) == 4
    assert majority(random.Random(1), _stand(NAMES[:3], NAMES[:3])) is None


def test_where_the_elders_are_a_majority_whoever_is_one_of_many_makes_room() -> None:
    members = {name: "first" if name in NAMES[:3] else "second" for name in NAMES}
    stand = _stand(NAMES[:6], NAMES[:6], members=members)
    assert majority(random.Random(1), stand) is None
    assert crowded(stand) == NAMES[5]
    assert crowded(_stand(NAMES[:2], NAMES[:2], members=members)) is None


def test_voices_are_the_members_and_not_the_peers() -> None:
    # Four members of two peers each, and a witness: five voices, of which three are needed.
    members = {name: f"member {number // 2}" for number, name in enumerate(NAMES)}
    stand = _stand(NAMES, NAMES, members=members)
    doomed = majority(random.Random(1), stand)
    assert doomed is not None
    left = [members[name] for name in set(NAMES) - set(doomed)]
    assert sum(0.5 for _ in left) + 1 <= 2.5
    assert len(doomed) == 5
    # Two whole members and the witness are three voices of five: nobody can be spared; half a member more can.
    assert _stand(NAMES[:4], NAMES, members=members).is_thin
    assert not _stand(NAMES[:5], NAMES, members=members).is_thin


def _commit(number: int, at: float, digest: str, *contributors: str) -> events.Stamped:
    event = events.RoundCommitted(
        round=number, attempt=1, peers=contributors, contributors=contributors, voters=3, state_digest=digest, seconds=1
    )
    return events.Stamped(at=at, event=event)


def _update(number: int, tokens: int) -> events.Stamped:
    return events.Stamped(at=0.0, event=events.UpdateReady(round=number, tokens=tokens, loss=1.0, steps=1))


@pytest.fixture
def watch(tmp_path) -> Watch:
    return Watch(tmp_path)


def test_two_states_of_one_round_are_divergence_whoever_says_them(watch: Watch) -> None:
    watch.take("a", _commit(1, 10.0, "aa", "A", "B"))
    watch.take("b", _commit(1, 10.1, "aa", "A", "B"))
    ready = events.StateReady(round=1, digest="bb", source="disk", bytes_received=0, seconds=0.1)
    with pytest.raises(DivergedError, match="round 1"):
        watch.take("c", events.Stamped(at=11.0, event=ready))
    with pytest.raises(DivergedError, match="contributed"):
        watch.take("c", _commit(1, 10.2, "aa", "A"))


def test_only_counted_work_is_goodput(watch: Watch) -> None:
    for name, number in (("a", 1), ("b", 1), ("a", 2), ("b", 2)):
        watch.take(name, _update(number, 100))
    watch.take("a", _commit(1, 10.0, "aa", "A", "B"))
    watch.take("a", _commit(2, 14.0, "bb", "A"))
    watch.take("a", _commit(3, 20.0, "cc", "A"))
    found = goodput(watch, {"A": "a", "B": "b"}, 8.0, 18.0)
    assert (found.rounds, found.contributions, found.tokens) == (2, 3, 300)
    assert found.tokens_per_s == 30.0
    assert longest_gap_s(watch.commits, (), 8.0, 18.0) == 4.0
    assert longest_gap_s(watch.commits, [(11.0, 13.0), (17.0, 30.0)], 8.0, 18.0) == 3.0


def test_half_a_line_is_passed_over_and_read_when_it_is_whole(watch: Watch, tmp_path) -> None:
    line = events.encode_line(1.0, _commit(1, 1.0, "aa", "A").event)
    path = tmp_path / "a" / "events.jsonl"
    path.parent.mkdir()
    path.write_bytes(line[:20])
    watch.look()
    assert watch.front == 0
    path.write_bytes(line)
    watch.look()
    assert watch.front == 1


def test_records_are_judged_by_the_peers_that_may_have_announced_them() -> None:
    due = [(10.0, 4.0), (20.0, 12.0), (30.0, 6.0)]
    kept = [(5.0, 1.0), (12.0, 4.0), (19.0, 9.0), (25.0, 12.0), (31.0, 30.0)]
    assert beyond(kept, due) == [(5.0, 1.0), (12.0, 0.0), (19.0, 5.0), (25.0, 0.0), (31.0, 24.0)]


def test_growth_is_told_from_noise_bursts_and_a_level_reached() -> None:
    draw = random.Random(2)
    bound = Bound(least=8.0, share=0.1)
    level = [(float(second), 100 + draw.gauss(0, 2)) for second in range(0, 600, 5)]
    bursts = [(second, value + (50 if second % 50 == 0 else 0)) for second, value in level]
    leak = [(second, value + second / 20) for second, value in level]
    assert [bound.is_broken(trend(samples)) for samples in (level, bursts, leak)] == [False, False, True]
    assert trend(leak).per_minute == pytest.approx(3.0, abs=0.5)
    assert trend(leak[:5]) is None
