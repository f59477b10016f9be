"""A few SIGKILLs of real processes at random instants; `python -m tests.chaos.sigkills --count 100` sends more."""

from pathlib import Path

from tests.chaos.sigkills import run


def test_killed_peers_come_back_and_no_round_has_two_values(tmp_path: Path) -> None:
    figures = run(3, seed=4, folder=tmp_path)
    assert figures["kills"] == 3 and figures["refused"] == {}
