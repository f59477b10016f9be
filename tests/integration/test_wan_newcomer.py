"""A newcomer in the WAN lab for real, with real processes, lanes and links: a small state, and one donor that lies.

Where a system has no network namespaces for this user, the test asserts that the lab says so in one line.
"""

from benchmarks.wan import state_measure
from benchmarks.wan.state_scenarios import StateScenario
from benchmarks.wan.topology import Host, Topology
from tests.integration.test_wan import refusal_expected_where_impossible

_MBIT, _MB = 1_000_000, 1_000_000


def test_a_liar_costs_a_piece_and_never_a_wrong_byte() -> None:
    hosts = tuple(Host(rate_bps=rate * _MBIT) for rate in (40, 40, 120))
    scenario = StateScenario(name="small", about="", topology=Topology(hosts=hosts, round_trip_s=0.02), liars=1, mb=8)
    with refusal_expected_where_impossible():
        (sample,) = state_measure.measure_joins(scenario, times=1, say=lambda _: None)
        assert sample.figures.is_right  # measure_joins would have raised
        assert 8 * _MB < sample.figures.received_bytes <= 12 * _MB
        assert sample.figures.download_s > scenario.ideal_s(8 * _MB)
        assert sample.core_drops == 0
