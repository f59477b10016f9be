"""From `tapestry peer --join` to the first counted contribution, with real processes and the pilot's model."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from peers.demo.terms import PILOT_MODEL
from swarm import events
from swarm.charter import manifest
from tests.integration.conftest import Bootstrap, Crew
from tests.integration.papers import Papers
from tests.integration.processes import Peer

BEYOND_IMPORTS_S = 10.0
"""And one round."""


@pytest.fixture
def pilot(tmp_path: Path) -> Iterator[Crew]:
    """Two peers of the pilot's run (with the witness a quorum) that have committed a few rounds."""
    defaults = manifest.Reduce()
    papers = Papers(
        tmp_path / "papers",
        model=PILOT_MODEL,
        training=manifest.Training(inner_steps=10),
        chunk_elements=defaults.chunk_elements,
    )
    bootstrap = Bootstrap(papers, tmp_path / "bootstrap")
    crew = Crew(papers, bootstrap, tmp_path / "crew")
    try:
        for name in ("ada", "bo"):
            crew.start(name)
        crew["ada"].wait_for_round(3)
        yield crew
    finally:
        crew.end()
        bootstrap.kill()


def _round_s(peer: Peer) -> float:
    """From one commit to the next, as a rule."""
    lines = (peer.state / "events.jsonl").read_bytes().splitlines()
    commits = [stamped.at for stamped in map(events.decode_line, lines) if _is_commit(stamped.event)]
    return median(later - earlier for earlier, later in pairwise(commits))


def _is_commit(event: events.AnyEvent) -> bool:
    return isinstance(event, events.RoundCommitted)


def test_a_newcomer_is_counted_within_a_round_and_ten_seconds_of_its_imports(pilot: Crew) -> None:
    newcomer = pilot.start("dee")
    counted = newcomer.wait_for(events.FirstCounted)
    assert isinstance(counted, events.FirstCounted)
    parts = ("imports_s", "daemon_s", "charter_s", "directory_s", "state_s", "steps_s", "round_s")
    in_parts = {name: getattr(counted, name) for name in parts}
    assert all(seconds >= 0.0 for seconds in in_parts.values()), counted
    assert counted.seconds == pytest.approx(sum(in_parts.values()))
    # Node and trainer import side by side; nothing is counted before both have.
    imports_s = max(counted.imports_s, counted.trainer_imports_s)
    assert 0.0 < imports_s < counted.seconds
    assert counted.seconds - imports_s <= BEYOND_IMPORTS_S + _round_s(pilot["ada"]), counted
    (said,) = [line for line in newcomer.stdout.splitlines() if line.startswith("first contribution counted")]
    assert f"round {counted.round}, {counted.seconds:.1f} s after the start" in said
