"""The harness with real processes and a toy engine: what it counts, what it refuses, that nothing is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.crew import BenchError
from benchmarks.harness import WARM_UP_ROUNDS, Plan, measure

_TOY = "bench_toy_worker"


def _plan(codec: str, *, peers: int = 1, rounds: int = 1, round_timeout_s: float = 60.0) -> Plan:
    return Plan(module=_TOY, codec=codec, peers=peers, elements=1_000, rounds=rounds, round_timeout_s=round_timeout_s)


def test_counts_rounds_after_warm_up_and_finds_the_average_exact() -> None:
    lines: list[str] = []
    measured = measure(_plan("honest", peers=2, rounds=3), lines.append)

    assert len(measured.samples) == 3
    assert measured.incomplete_rounds == 0
    for sample in measured.samples:
        assert (sample.form_s, sample.data_s, sample.round_s) == (0.25, 0.5, 0.75)
        assert sample.rms_error < 1e-6
        assert sample.wire_bytes_per_peer == 0  # the toy meets in files
        assert sample.cpu_s_per_peer >= 0
    assert len(lines) == 1 + WARM_UP_ROUNDS + 3


@pytest.mark.parametrize(
    ("codec", "cause"),
    [
        ("raiser", "peer 0 failed: RuntimeError: out of luck"),
        ("crasher", "peer 0 died (killed by signal 9)"),
        ("silent", "no answer to 'go' from peer 0 within 3 s"),
    ],
)
def test_a_broken_worker_ends_the_bench_with_one_line(codec: str, cause: str) -> None:
    with pytest.raises(BenchError) as caught:
        measure(_plan(codec, round_timeout_s=3.0), lambda _: None)
    assert str(caught.value) == cause


@pytest.mark.parametrize("codec", ["loner", "liar"])
def test_rounds_that_did_not_average_with_everybody_are_not_counted(codec: str) -> None:
    with pytest.raises(BenchError, match="only 0 of 2 rounds were complete"):
        measure(_plan(codec, peers=2), lambda _: None)


def test_an_engine_that_does_not_exist_is_named() -> None:
    plan = Plan(module="benchmarks.no_such_engine", codec="int8", peers=1, elements=10, rounds=1)
    with pytest.raises(BenchError, match="No module named 'benchmarks"):
        measure(plan, lambda _: None)


def test_no_process_outlives_a_harness_that_was_killed(tmp_path: Path) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    script = (
        "from benchmarks.harness import Plan, measure\n"
        f"measure(Plan(module={_TOY!r}, codec='parent', peers=1, elements=10, rounds=1), print)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "BENCH_TOY_FIFO": str(fifo), "PYTHONPATH": path, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.DEVNULL) as harness:
        with open(fifo, "rb") as alive:
            assert alive.readline() == b"up\n"
            harness.send_signal(signal.SIGKILL)
            assert alive.read() == b""  # end of file: the worker's own child, the last holder, is gone
        assert harness.wait() == -signal.SIGKILL
