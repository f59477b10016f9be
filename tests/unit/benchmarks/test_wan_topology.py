"""Networks as data: distances, borders, and what is refused."""

import pytest

from benchmarks.wan.link_report import allowed_bps
from benchmarks.wan.scenarios import ALL, Scenario, chosen, slower
from benchmarks.wan.state_scenarios import StateScenario
from benchmarks.wan.topology import Border, Distance, Host, Topology, host_inner, host_outer
from swarm.errors import UsageError

_DE, _JP = Host(rate_bps=1_000_000), Host(rate_bps=1_000_000, region="JP")


def test_distances_are_exceptions_to_the_round_trip_in_either_direction() -> None:
    topology = Topology(
        hosts=(_DE, _JP, _JP), round_trip_s=0.04, distances=(Distance(regions=("JP", "DE"), round_trip_s=0.2),)
    )
    assert topology.one_way_s(0, 1) == topology.one_way_s(1, 0) == 0.1
    assert topology.one_way_s(1, 2) == 0.02
    assert topology.longest_round_trip_s() == 0.2


def test_a_distance_of_a_region_to_itself_holds_inside_it_only() -> None:
    topology = Topology(hosts=(_DE, _DE, _JP), distances=(Distance(regions=("DE", "DE"), round_trip_s=0.01),))
    assert (topology.one_way_s(0, 1), topology.one_way_s(0, 2)) == (0.005, 0.0)


def test_hosts_behind_a_border_know_which() -> None:
    topology = Topology(hosts=(_DE, _JP), borders=(Border(region="JP", rate_bps=1),))
    assert (topology.border_index(0), topology.border_index(1)) == (None, 0)


def test_a_host_behind_nat_is_seen_under_another_address_than_its_own() -> None:
    assert str(host_outer(3)) == "10.77.3.2" == str(host_inner(3, nat=False))
    assert host_inner(3, nat=True) != host_outer(3)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"hosts": ()}, "1 to 200 hosts"),
        ({"hosts": (Host(rate_bps=0),)}, "above zero"),
        ({"loss": 1.0}, "probability below 1"),
        ({"borders": (Border(region="BR", rate_bps=1),)}, "no host is in region BR"),
        ({"distances": (Distance(regions=("DE", "BR"), round_trip_s=1.0),)}, "no host is in region BR"),
        ({"borders": (Border(region="DE", rate_bps=1),) * 2}, "one border at most"),
    ],
)
def test_networks_that_cannot_be_are_refused(change: dict[str, object], cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        Topology(**{"hosts": (_DE,), **change})  # pyright: ignore[reportArgumentType]


def test_scenarios_have_names_of_their_own_and_an_ideal_time() -> None:
    assert len({scenario.name for scenario in ALL}) == len(ALL)
    assert all(scenario.ideal_s(1_000_000) > 0 for scenario in ALL)


@pytest.mark.parametrize(
    ("name", "ideal_s"),
    [("even-100", 0.12), ("even-50", 0.28), ("unequal-60", 0.15), ("unequal-20", 0.4), ("regions", 0.16)],
)
def test_ideal_times_of_a_megabyte(name: str, ideal_s: float) -> None:
    assert chosen([name])[0].ideal_s(1_000_000) == pytest.approx(ideal_s)


def test_scenarios_are_chosen_by_name_and_an_unknown_one_is_named() -> None:
    assert [scenario.name for scenario in chosen(["regions", "even-50"])] == ["regions", "even-50"]
    assert chosen([]) == ALL
    with pytest.raises(UsageError, match="'odd-50'"):
        chosen(["odd-50"])


@pytest.mark.parametrize("scenario", ALL, ids=[one.name for one in ALL])
def test_slower_links_are_all_slower_alike_and_the_ideal_with_them(scenario: Scenario | StateScenario) -> None:
    half = slower(scenario, 2)
    assert half.ideal_s(10**6) == pytest.approx(2 * scenario.ideal_s(10**6))
    assert [2 * rate for rate in half.topology.rates_bps] == list(scenario.topology.rates_bps)
    assert half.topology.round_trip_s == scenario.topology.round_trip_s
    assert "divided by 2" in half.about and slower(scenario, 1) is scenario


def test_flows_are_held_to_their_slower_end_and_to_the_border_they_share() -> None:
    rates = (200, 100, 300, 300)
    hosts = tuple(
        Host(rate_bps=rate, region=region) for rate, region in zip(rates, ("DE", "DE", "JP", "JP"), strict=True)
    )
    borders = (Border(region="DE", rate_bps=250), Border(region="JP", rate_bps=250))
    topology = Topology(hosts=hosts, borders=borders)
    assert allowed_bps(topology, [(0, 1)]) == 100
    assert allowed_bps(topology, [(0, 2), (1, 3)]) == 250
    assert allowed_bps(topology, [(0, 2), (1, 3), (2, 0), (3, 1)]) == 500
    assert allowed_bps(Topology(hosts=hosts), [(0, 2), (1, 3)]) == 300
