"""`tapestry bench wan`: the scenarios asked for, one after the other."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.allreduce import check_memory
from benchmarks.harness import Say
from benchmarks.wan import report
from benchmarks.wan.measure import measure
from benchmarks.wan.scenarios import Scenario


def run(scenarios: Sequence[Scenario], *, mb: int, rounds: int, say: Say) -> report.Document:
    """Measures each scenario.

    Raises:
        UsageError: the machine has not the memory.
        BenchError: no network can be built here, or an engine failed.
    """
    for scenario in scenarios:
        size_mb = _size_mb(scenario, mb)
        check_memory(peers=scenario.peers, mb=size_mb, available_bytes=machine.available_memory_bytes())
    before = machine.fingerprint()
    results = tuple(
        report.result(
            scenario,
            measure(scenario, mb=_size_mb(scenario, mb), rounds=rounds, say=say),
            mb=_size_mb(scenario, mb),
        )
        for scenario in scenarios
    )
    congestion_control = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    return report.Document(machine=before, congestion_control=congestion_control, scenarios=results)


def _size_mb(scenario: Scenario, mb: int) -> int:
    return mb if scenario.max_mb is None else min(mb, scenario.max_mb)
