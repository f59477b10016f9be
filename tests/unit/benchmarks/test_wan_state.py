"""State scenarios: what their links allow, how joins become figures, and a liar that lies about pieces only."""

import msgspec
import pytest

from benchmarks.lying_transport import bend
from benchmarks.wan import report, scenarios
from benchmarks.wan.state_measure import JoinSample, RoundSample
from benchmarks.wan.state_report import state_result, state_rounds_result
from benchmarks.wan.state_scenarios import STATE_MB, STATE_SCENARIOS, StateScenario
from benchmarks.wan.topology import Host, Topology
from benchmarks.worker import JoinFigures
from swarm.net import wire

MB = 10**6
BY_NAME = {scenario.name: scenario for scenario in STATE_SCENARIOS}


def join(download_s: float, ready_s: float) -> JoinSample:
    figures = JoinFigures(
        download_s=download_s,
        ready_s=ready_s,
        state_bytes=STATE_MB * MB,
        received_bytes=STATE_MB * MB + 5,
        is_right=True,
    )
    return JoinSample(figures=figures, cpu_s=3.0, donor_cpu_s=0.5, link_cpu_s=2.0, cpu_busy=0.5, core_drops=1)


def round_of(seconds: float, newcomer_bytes: int) -> RoundSample:
    return RoundSample(data_s=seconds - 1, seconds=seconds, newcomer_bytes=newcomer_bytes, cpu_busy=0.95)


def test_what_links_allow_is_the_lesser_of_all_honest_donors_and_the_newcomer() -> None:
    assert BY_NAME["state-3"].ideal_s(400 * MB) == pytest.approx(400 * 8 / 300)
    assert BY_NAME["state-liar"].ideal_s(400 * MB) == pytest.approx(400 * 8 / 200)
    hosts = tuple(Host(rate_bps=rate * MB) for rate in (100, 100, 50))
    narrow = StateScenario(name="", about="", topology=Topology(hosts=hosts))
    assert narrow.ideal_s(50 * MB) == pytest.approx(8)


def test_they_are_among_the_scenarios_and_each_is_what_the_bars_ask_for() -> None:
    names = [one["name"] for one in msgspec.json.decode(scenarios.to_json(scenarios.chosen([])))["scenarios"]]
    assert names[-3:] == ["state-3", "state-liar", "state-rounds"]
    assert scenarios.chosen(["state-liar"]) == (BY_NAME["state-liar"],)
    for scenario in STATE_SCENARIOS:
        assert [host.rate_bps // MB for host in scenario.topology.hosts] == [100, 100, 100, 300]
        assert scenario.mb == 400


def test_joins_become_medians_and_shares() -> None:
    result = state_result(BY_NAME["state-3"], [join(12.0, 13.0), join(20.0, 25.0), join(10.0, 11.0)])
    assert (result.seconds, result.ready_s, result.rounds, result.core_drops) == (12.0, 13.0, 3, 3)
    assert result.efficiency == pytest.approx(result.link_share) == pytest.approx(3200 / 300 / 12)
    assert result.spread["download_s"] == (10.0, 20.0)
    assert not result.saturated


def test_rounds_are_compared_by_their_medians() -> None:
    usual, during = [round_of(10, 0), round_of(11, 0), round_of(30, 0)], [round_of(12, 4), round_of(13, 6)]
    result = state_rounds_result(BY_NAME["state-rounds"], usual, during)
    assert (result.usual_s, result.seconds, result.newcomer_bytes) == (11, 12.5, 5)
    assert result.slowdown == pytest.approx(12.5 / 11) and result.data_slowdown == pytest.approx(11.5 / 10)
    assert result.saturated


def test_states_have_a_table_of_their_own_beside_the_averages() -> None:
    results = (
        state_result(BY_NAME["state-3"], [join(12.0, 13.0)]),
        state_rounds_result(BY_NAME["state-rounds"], [round_of(10, 0)], [round_of(11, 1)]),
    )
    (table,) = report.tables(results)
    assert table.row_count == 2
    assert report.tables(()) == []


def test_a_liar_changes_one_bit_of_each_piece_and_nothing_else() -> None:
    for frame in (wire.StateIs((b"leaf",)), wire.Missing(), wire.Status(1, b"", 0, ""), wire.GetState(0, (1,))):
        assert bend(wire.encode(frame)) == wire.encode(frame)
    bent = wire.decode(bend(wire.encode(wire.StateChunk(3, bytes(9)))), wire.StateChunk)
    assert bent.index == 3 and sum(byte.bit_count() for byte in bent.data) == 1 and len(bent.data) == 9
