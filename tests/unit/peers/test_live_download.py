"""What a person sees of a download: one live line on a terminal, a line for each tenth elsewhere."""

import io

import pytest
from rich.console import Console

from peers.live import LiveView
from swarm import events

MB = 10**6


def progress(pieces: int) -> events.Stamped:
    event = events.StateProgress(
        round=7,
        pieces=pieces,
        pieces_total=400,
        bytes_total=420 * MB,
        bytes_received=pieces * MB,
        bytes_per_s=36.24e6,
        donors=3,
    )
    return events.Stamped(at=0.0, event=event)


def test_elsewhere_each_tenth_is_a_line() -> None:
    written = io.StringIO()
    view = LiveView(Console(file=written, force_terminal=False, width=200))
    for pieces in range(0, 401, 5):
        view.show(progress(pieces))
    lines = written.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[5] == "downloading the Shared Base of round 7: 210.0 of 420.0 MB, 36.2 MB/s from 3 peers"


@pytest.mark.parametrize(
    "end",
    [
        events.StateReady(round=7, digest="00" * 32, source="download", bytes_received=400 * MB, seconds=12.0),
        events.CaughtUp(from_round=1, to_round=7, replayed=False),
    ],
    ids=["StateReady", "CaughtUp"],
)
def test_on_a_terminal_it_is_the_live_line_until_the_state_is_here(end: events.AnyEvent) -> None:
    view = LiveView(Console(file=io.StringIO(), force_terminal=True, width=200))
    view.show(progress(100))
    assert str(view._line()).startswith("downloading the Shared Base of round 7: 105.0 of 420.0 MB")
    view.show(events.Stamped(at=1.0, event=end))
    assert "downloading" not in str(view._line())
