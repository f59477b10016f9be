"""The queues of the link process, on a clock of the test's own."""

from ipaddress import IPv4Address

import pytest

from benchmarks.wan.delay_line import DelayLine
from benchmarks.wan.topology import Distance, Host, Topology, host_outer
from benchmarks.wan.tun import HEADER_BYTES

_HOSTS = (Host(rate_bps=1), Host(rate_bps=1), Host(rate_bps=1, region="JP"))


def _packet(source: IPv4Address, target: IPv4Address, label: int = 0) -> bytes:
    """Virtio header, IPv4 header, one byte."""
    return bytes(HEADER_BYTES) + b"\x45" + bytes(11) + source.packed + target.packed + bytes([label])


def _between(source: int, target: int, label: int = 0) -> bytes:
    return _packet(host_outer(source), host_outer(target), label)


def test_a_packet_leaves_one_delay_after_it_came_and_not_before() -> None:
    line = DelayLine(Topology(hosts=_HOSTS, round_trip_s=0.04))
    packet = _between(0, 1)
    line.put(packet, 0.5)
    assert line.wait_s(0.5) == pytest.approx(0.02)
    assert list(line.take_due(0.519)) == []
    assert list(line.take_due(0.521)) == [packet]
    assert line.wait_s(0.521) is None


def test_packets_of_one_pair_keep_their_order() -> None:
    line = DelayLine(Topology(hosts=_HOSTS, round_trip_s=0.04))
    packets = [_between(0, 1, label) for label in range(5)]
    for index, packet in enumerate(packets):
        line.put(packet, index * 0.001)
    assert list(line.take_due(1.0)) == packets


def test_a_near_pair_overtakes_a_far_one() -> None:
    far = Distance(regions=("DE", "JP"), round_trip_s=0.2)
    line = DelayLine(Topology(hosts=_HOSTS, round_trip_s=0.02, distances=(far,)))
    line.put(_between(0, 2), 0.0)
    line.put(_between(0, 1), 0.05)
    assert list(line.take_due(0.061)) == [_between(0, 1)]
    assert line.wait_s(0.06) == pytest.approx(0.04)
    assert list(line.take_due(0.1)) == [_between(0, 2)]


def test_a_wait_that_is_over_is_none_and_never_negative() -> None:
    line = DelayLine(Topology(hosts=_HOSTS))
    line.put(_between(0, 1), 1.0)
    assert line.wait_s(5.0) == 0.0


def test_what_is_not_between_two_hosts_is_dropped() -> None:
    line = DelayLine(Topology(hosts=_HOSTS))
    for packet in (
        b"",
        bytes(HEADER_BYTES + 4),
        bytes(HEADER_BYTES) + b"\x60" + bytes(60),  # IPv6
        _packet(host_outer(0), IPv4Address("8.8.8.8")),
        _packet(IPv4Address("192.168.77.2"), host_outer(1)),
        _between(0, 7),
    ):
        line.put(packet, 0.0)
    assert list(line.take_due(1.0)) == []


def test_losses_follow_the_seed_and_come_as_often_as_they_should() -> None:
    def survivors(seed: int) -> list[bytes]:
        line = DelayLine(Topology(hosts=_HOSTS, loss=0.1, seed=seed))
        for index in range(2_000):
            line.put(_between(0, 1, index % 256), 0.0)
        return list(line.take_due(0.0))

    assert survivors(1) == survivors(1) != survivors(2)
    assert 1_730 < len(survivors(3)) < 1_870  # five standard deviations
