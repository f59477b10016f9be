"""Clean-up goes on under Ctrl+C, which then takes effect."""

import signal

import pytest

from benchmarks.crew import deaf_to_ctrl_c


def test_ctrl_c_waits_for_the_end_of_the_block() -> None:
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt), deaf_to_ctrl_c():
        signal.raise_signal(signal.SIGINT)
        steps.append("clean")
        signal.raise_signal(signal.SIGINT)
        steps.append("gone")
    assert steps == ["clean", "gone"]
