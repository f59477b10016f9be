"""What is read from /proc and what is made of it."""

import msgspec
import pytest

from benchmarks.machine import Machine
from benchmarks.wan import counters, machine_load, report
from benchmarks.wan.counters import Counters, Traffic
from benchmarks.wan.measure import Measured, RoundSample
from benchmarks.wan.scenarios import chosen

_NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
  tun0: 279180124  167555    0    3    0     0          0         0 279181424  167580    0    4    0     0       0          0
    h1:     700      42    0    0    0     0          0         0      900      41    0    0    0     0       0          0
"""  # noqa: E501 (as the kernel prints it)


def test_what_a_router_received_is_what_the_edge_sent() -> None:
    assert counters.traffic_from_router(_NET_DEV, "h1") == Traffic(out_bytes=700, in_bytes=900)
    assert counters.drops(_NET_DEV, "tun0") == 7


def test_an_interface_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        counters.drops(_NET_DEV, "h10")


def test_counters_are_compared_link_by_link() -> None:
    before = Counters((Traffic(1, 2),), (Traffic(10, 20),), 1)
    now = Counters((Traffic(5, 7),), (Traffic(100, 30),), 1)
    assert now.since(before) == Counters((Traffic(4, 5),), (Traffic(90, 10),), 0)


def test_time_that_makes_way_is_idle_and_stolen_time_is_not() -> None:
    stat = "cpu  100 50 30 800 5 1 2 12 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
    assert machine_load.parse(stat, 1.0, is_nice=False) == machine_load.Reading(1.0, 145, 1_000)
    assert machine_load.parse(stat, 1.0, is_nice=True) == machine_load.Reading(1.0, 195, 1_000)


def test_the_busy_share_is_taken_between_the_readings_around_a_phase() -> None:
    readings = [
        machine_load.Reading(float(second), busy, second * 100) for second, busy in enumerate((0, 100, 150, 160))
    ]
    assert machine_load.busy_share(readings, begin_s=1.5, end_s=1.9) == 0.5
    assert machine_load.busy_share(readings, begin_s=0.0, end_s=9.0) == 160 / 300


def _sample(data_s: float, cpu_busy: float) -> RoundSample:
    return RoundSample(
        form_s=0.1,
        data_s=data_s,
        commit_s=0.2,
        cpu_s_per_peer=1.0,
        link_cpu_s=0.5,
        cpu_busy=cpu_busy,
        border_bytes=1_000,
        sent_abroad_bytes=900,
        host_bytes=2_000,
        core_drops=1,
        rms_error=0.01,
    )


def _measured(*samples: RoundSample) -> Measured:
    return Measured(samples=samples, incomplete_rounds=0, encoded_bytes=1_000, ideal_s=9.0)


def test_efficiency_is_of_the_median_round() -> None:
    found = report.result(
        chosen(["regions"])[0], _measured(_sample(9.0, 0.2), _sample(10.0, 0.3), _sample(90.0, 0.99)), mb=1
    )
    assert (found.seconds, found.efficiency, found.saturated, found.core_drops) == (10.0, 0.9, False, 3)
    assert found.spread["data_s"] == (9.0, 90.0)


def test_a_saturated_machine_is_said_so_in_both_forms() -> None:
    found = report.result(chosen(["regions"])[0], _measured(_sample(10.0, 0.95)), mb=1)
    machine = Machine(cpu="c", cores=2, memory_bytes=1, kernel="k", python="3", packages={}, load_1m=0.0)
    document = report.Document(machine=machine, congestion_control="cubic", scenarios=(found,))
    listed = msgspec.json.decode(report.to_json(document))["scenarios"][0]
    assert listed["saturated"] is True
    assert {"name", "peers", "seconds", "ideal_s", "efficiency", "border_bytes"} <= set(listed)
    cells = [cell for column in report.table([found]).columns for cell in column.cells]
    assert "90%*" in cells
