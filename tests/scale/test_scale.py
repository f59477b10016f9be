"""The simulation of a large swarm in small: two regions, cohorts, a churn that strikes. Who lives is counted."""

from statistics import median

import pytest

from swarm.round.plan import MAX_GROUP_PEERS, Plan
from tests.scale.measure import Round, Spread, total_share
from tests.scale.play import play, report

PEERS = 2 * MAX_GROUP_PEERS + 12
ROUNDS = 5


def test_nearly_all_who_live_are_in_the_committed_rounds_of_a_swarm_under_churn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    depths: set[int] = set()

    class Seen(Plan):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)  # pyright: ignore[reportArgumentType]
            depths.add(self.depth)

    monkeypatch.setattr("tests.scale.shared.Plan", Seen)
    outcome = play(peers=PEERS, rounds=ROUNDS, regions=2, churn_percent=40.0, seed=4, say=lambda each: None)
    rounds = outcome.measure.rounds
    assert [each.number for each in rounds] == list(range(1, ROUNDS + 1))
    assert not outcome.errors
    assert all(len(digests) == 1 for digests in outcome.measure.digests.values())
    assert outcome.churn.deaths + outcome.churn.goodbyes >= 3, "a churn that strikes"
    assert max(depths) == 3, "peers, cohorts, regions; two levels where churn has left both regions without cohorts"
    assert sum(each.seated for each in rounds) >= 0.98 * sum(each.present for each in rounds), "in a committed round"
    # An owner that dies between its region's parts and its sum takes one chunk of that region with it, and then nobody
    # there counts in every chunk. At this churn, eight times what runs are judged by, that befell 3 of 100 rounds.
    shares = sorted(each.share for each in rounds)
    assert shares[1] >= 0.95 and median(shares) >= 0.98, "\n".join(map(str, rounds))
    assert sum(each.present for each in rounds) >= 0.9 * PEERS * ROUNDS, "nobody is left out of the measure"
    assert f"counted of those present, all rounds together: {100 * total_share(rounds):.3f} %" in report(outcome)


def make_round(present: int, counted: int, catching_up: int = 0) -> Round:
    return Round(1, 1, present, present, counted, catching_up, 1.0, 2.0, 3, 4, 5)


def test_a_share_counts_those_present_and_the_other_everybody() -> None:
    assert make_round(100, 99).share == 0.99
    assert make_round(100, 99, 10).share_of_live == 0.9
    assert total_share([make_round(100, 100), make_round(300, 297)]) == 0.9925


def test_a_spread_names_the_ends_of_a_distribution() -> None:
    assert Spread.of([float(value) for value in range(100, -1, -1)]) == Spread(0.0, 1.0, 50.0, 99.0, 100.0)
