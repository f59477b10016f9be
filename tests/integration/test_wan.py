"""The WAN lab for real: rates, delays, borders, NAT, and nothing left over. Where a system has no network namespaces
for this user, each test asserts that the lab says so in one line."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.crew import BenchError
from benchmarks.wan import lab, measure, plan, probe, tun
from benchmarks.wan.lab import Lab
from benchmarks.wan.probe import Transfer
from benchmarks.wan.scenarios import Scenario
from benchmarks.wan.topology import Border, Host, Topology
from swarm.errors import NetworkError

_MBIT = 1_000_000
_ROUND_TRIP_S = 0.04


def _is_possible() -> bool:
    """Asked of the system itself, not of the code under test."""
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return made.returncode == 0 and os.access(tun.DEVICE, os.R_OK | os.W_OK)


@contextmanager
def refusal_expected_where_impossible() -> Generator[None]:
    if _is_possible():
        yield
        return
    with pytest.raises(BenchError, match=r"^no network can be built here: .+|^`\w+` is not installed: .+package \w+$"):
        yield


def _filled(carried_bytes: int, rate_bps: int, transfer: Transfer) -> float:
    """How much of what a link may carry in that time it did carry; a full bucket at the start comes on top."""
    return carried_bytes / (rate_bps / 8 * transfer.seconds + plan.SUPER_PACKET_BYTES)


def test_links_have_the_rate_and_the_delay_they_were_given() -> None:
    hosts = (Host(rate_bps=20 * _MBIT), Host(rate_bps=20 * _MBIT), Host(rate_bps=5 * _MBIT))
    with refusal_expected_where_impossible(), lab.started(Topology(hosts=hosts, round_trip_s=_ROUND_TRIP_S)) as built:
        assert _ROUND_TRIP_S <= probe.round_trip_s(built, 0, 1) < _ROUND_TRIP_S + 0.03
        one = probe.transfer(built, [(0, 1), (0, 2)], seconds=2.0)
        source, fast, slow = one.traffic.hosts
        assert 0.5 < _filled(source.out_bytes, hosts[0].rate_bps, one) <= 1
        assert 0.5 < _filled(slow.in_bytes, hosts[2].rate_bps, one) <= 1
        assert source.out_bytes > fast.in_bytes > slow.in_bytes
        assert one.traffic.core_drops == 0


def test_a_border_is_shared_and_hosts_behind_it_are_near() -> None:
    regions = ("DE", "DE", "JP", "JP")
    topology = Topology(
        hosts=tuple(Host(rate_bps=40 * _MBIT, region=region) for region in regions),
        borders=tuple(Border(region=region, rate_bps=10 * _MBIT) for region in ("DE", "JP")),
        round_trip_s=_ROUND_TRIP_S,
    )
    with refusal_expected_where_impossible(), lab.started(topology) as built:
        assert probe.round_trip_s(built, 0, 1) < _ROUND_TRIP_S / 2 < probe.round_trip_s(built, 0, 2)
        abroad = probe.transfer(built, [(0, 2), (1, 3)], seconds=2.0)
        crossed = abroad.traffic.borders[0].out_bytes
        assert 0.5 < _filled(crossed, 10 * _MBIT, abroad) <= 1
        assert crossed <= abroad.traffic.hosts[0].out_bytes + abroad.traffic.hosts[1].out_bytes
        home = probe.transfer(built, [(0, 1)], seconds=1.0)
        assert _filled(home.traffic.hosts[1].in_bytes, 40 * _MBIT, home) > 0.5
        assert home.traffic.borders[0].out_bytes < 0.01 * home.traffic.hosts[0].out_bytes


def test_a_host_behind_nat_dials_and_is_not_dialled() -> None:
    topology = Topology(hosts=(Host(rate_bps=20 * _MBIT), Host(rate_bps=20 * _MBIT, nat=True)), round_trip_s=0.01)
    with refusal_expected_where_impossible(), lab.started(topology) as built:
        assert probe.round_trip_s(built, 1, 0) >= 0.01
        with pytest.raises(NetworkError, match="refused"):
            probe.round_trip_s(built, 0, 1)


def test_a_silent_nat_answers_nobody_and_lets_its_host_dial() -> None:
    hosts = (Host(rate_bps=20 * _MBIT), Host(rate_bps=20 * _MBIT, nat=True, silent=True))
    with refusal_expected_where_impossible(), lab.started(Topology(hosts=hosts, round_trip_s=0.01)) as built:
        assert probe.round_trip_s(built, 1, 0) >= 0.01
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(probe, "_PATIENCE_S", 0.5)
            with pytest.raises(NetworkError, match="timed out"):
                probe.round_trip_s(built, 0, 1)


def test_the_engine_averages_between_hosts() -> None:
    scenario = Scenario(
        name="pair",
        about="2 hosts",
        topology=Topology(hosts=(Host(rate_bps=50 * _MBIT), Host(rate_bps=50 * _MBIT)), round_trip_s=0.02),
    )
    said: list[str] = []
    with refusal_expected_where_impossible():
        found = measure.measure(scenario, mb=1, rounds=1, say=said.append)
        (sample,) = found.samples
        # Half of the codes and half of the result leave each host, and what TCP sends twice when the machine is busy.
        assert found.encoded_bytes < sample.host_bytes < 3 * found.encoded_bytes
        assert sample.data_s > found.ideal_s and 0.001 < sample.rms_error < 0.03
        assert len([line for line in said if line.startswith("pair: round")]) == 1


def test_a_killed_parent_leaves_nothing_behind() -> None:
    code = (
        "import signal\n"
        "from benchmarks.wan import lab\n"
        "from benchmarks.wan.topology import Host, Topology\n"
        "with lab.started(Topology(hosts=(Host(rate_bps=1_000_000),))) as built:\n"
        "    print(built.namespace_of(0), flush=True)\n"
        "    signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stderr is not None
        line = parent.stdout.readline().decode().strip()
        if not _is_possible():
            assert b"no network can be built here" in parent.stderr.read()
            return
        namespace = Path(line)  # /proc/<link process>/fd/<namespace>
        link = os.pidfd_open(int(namespace.parts[2]))
        parent.send_signal(signal.SIGKILL)
    ended, _, _ = select.select([link], [], [], 10.0)
    os.close(link)
    assert ended, "the link process outlived its parent"
    assert not namespace.exists()


def test_nothing_is_left_when_the_block_ends() -> None:
    seen: list[Lab] = []
    with refusal_expected_where_impossible(), lab.started(Topology(hosts=(Host(rate_bps=_MBIT),))) as built:
        seen.append(built)
    for one in seen:
        assert not one.namespace_of(0).exists()
        with pytest.raises(BenchError, match="ended"):
            one.check()
