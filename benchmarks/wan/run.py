"""`tapestry bench wan`: the scenarios asked for, one after the other."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.allreduce import check_memory
from benchmarks.harness import Say
from benchmarks.wan import report
from benchmarks.wan.measure import measure
from benchmarks.wan.scenarios import Scenario
from benchmarks.wan.state_measure import measure_joins, measure_rounds
from benchmarks.wan.state_report import state_result, state_rounds_result
from benchmarks.wan.state_scenarios import StateScenario


def run(scenarios: Sequence[Scenario | StateScenario], *, mb: int, rounds: int, say: Say) -> report.Document:
    """Measures each scenario.

    Raises:
        UsageError: the machine has not the memory.
        BenchError: no network can be built here, or an engine failed.
    """
    for scenario in scenarios:
        size_mb = _size_mb(scenario, mb)
        check_memory(peers=scenario.peers, mb=size_mb, available_bytes=machine.available_memory_bytes())
    before = machine.fingerprint()
    results = tuple(_result(scenario, mb=mb, rounds=rounds, say=say) for scenario in scenarios)
    congestion_control = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    return report.Document(machine=before, congestion_control=congestion_control, scenarios=results)


def _result(scenario: Scenario | StateScenario, *, mb: int, rounds: int, say: Say) -> report.AnyResult:
    if isinstance(scenario, Scenario):
        size_mb = _size_mb(scenario, mb)
        return report.result(scenario, measure(scenario, mb=size_mb, rounds=rounds, say=say), mb=size_mb)
    say(f"{scenario.name}: {scenario.about}")
    if scenario.with_rounds:
        usual, during = measure_rounds(scenario, rounds=rounds, say=say)
        return state_rounds_result(scenario, usual, during)
    return state_result(scenario, measure_joins(scenario, times=rounds, say=say))


def _size_mb(scenario: Scenario | StateScenario, mb: int) -> int:
    """A state has the size that its scenario names."""
    if isinstance(scenario, StateScenario):
        return scenario.mb
    return mb if scenario.max_mb is None else min(mb, scenario.max_mb)
