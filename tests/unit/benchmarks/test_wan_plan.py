"""The commands that build a network, as text: nothing is run."""

from benchmarks.wan import plan
from benchmarks.wan.topology import Border, Host, Topology

_MBIT = 1_000_000


def _lines(topology: Topology, namespace: str, tool: str) -> list[str]:
    """What one tool is told in one namespace, in order."""
    steps = plan.steps(topology, lambda name: f"/ns/{name}")
    return [line for step in steps if (step.namespace, step.tool) == (namespace, tool) for line in step.lines]


def test_both_ends_of_a_link_are_shaped_with_room_for_a_super_packet_and_200_ms() -> None:
    topology = Topology(hosts=(Host(rate_bps=100 * _MBIT), Host(rate_bps=20 * _MBIT)), round_trip_s=0.04)
    shape = "qdisc add dev {} root tbf rate {}bit burst 66000 limit {}"
    assert _lines(topology, "host0", "tc") == [shape.format("eth0", 100 * _MBIT, 66_000 + 2_500_000)]
    assert _lines(topology, "host1", "tc") == [shape.format("eth0", 20 * _MBIT, 66_000 + 500_000)]
    assert _lines(topology, "core", "tc") == [
        shape.format("h0", 100 * _MBIT, 66_000 + 2_500_000),
        shape.format("h1", 20 * _MBIT, 66_000 + 500_000),
    ]


def test_queues_grow_with_the_longest_round_trip() -> None:
    topology = Topology(hosts=(Host(rate_bps=8 * _MBIT),), round_trip_s=0.3)
    assert _lines(topology, "host0", "tc")[0].endswith(f"limit {66_000 + 300_000}")


def test_what_comes_from_hosts_and_regions_is_sent_through_the_link_process() -> None:
    topology = Topology(
        hosts=(Host(rate_bps=1), Host(rate_bps=1, region="JP")), borders=(Border(region="JP", rate_bps=1),)
    )
    core = _lines(topology, "core", "ip")
    assert "route add default dev tun0 table 100" in core
    assert [line for line in core if line.startswith("rule")] == [
        "rule add iif b0 lookup 100",
        "rule add iif h0 lookup 100",
    ]
    assert "route add 10.77.1.0/24 via 10.78.0.2" in core
    assert not any("h1" in line for line in core)  # it hangs on its region's router
    assert "link add h1 type veth peer name eth0 netns /ns/host1" in _lines(topology, "router0", "ip")


def test_a_border_is_shaped_once_each_way_for_all_its_hosts() -> None:
    hosts = tuple(Host(rate_bps=200 * _MBIT) for _ in range(3))
    topology = Topology(hosts=hosts, borders=(Border(region="DE", rate_bps=50 * _MBIT),))
    assert [line.split()[3] for line in _lines(topology, "core", "tc")] == ["b0"]
    assert [line.split()[3] for line in _lines(topology, "router0", "tc")] == ["border", "h0", "h1", "h2"]


def test_a_host_behind_nat_hangs_on_a_masquerading_router_whose_outer_link_has_the_rate() -> None:
    topology = Topology(hosts=(Host(rate_bps=5 * _MBIT, nat=True),))
    assert plan.namespaces(topology) == ("core", "nat0", "host0")
    assert plan.tools(topology) == ("ip", "tc", "nft")
    assert "masquerade" in _lines(topology, "nat0", "nft")[0]
    assert [line.split()[3] for line in _lines(topology, "nat0", "tc")] == ["wan"]
    assert _lines(topology, "host0", "tc") == []
    assert "address add 192.168.77.2/24 dev eth0" in _lines(topology, "host0", "ip")


def test_without_nat_nftables_is_not_needed() -> None:
    assert plan.tools(Topology(hosts=(Host(rate_bps=1),))) == ("ip", "tc")


def test_interfaces_have_names_that_the_kernel_takes() -> None:
    hosts = tuple(Host(rate_bps=1, nat=True) for _ in range(200))
    topology = Topology(hosts=hosts, borders=(Border(region="DE", rate_bps=1),))
    for step in plan.steps(topology, lambda name: name):
        for line in step.lines:
            words = line.split()
            if words[:2] == ["link", "add"]:
                assert len(words[2]) < 16 and len(words[7]) < 16, line
