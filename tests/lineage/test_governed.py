"""Statements and bundles of runs that did not go straight on: amended rules, rejected rounds, a founders' restart.

Where they rest on the chain alone: records from the charter on, and means that lead to the state they name.
"""

import asyncio
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from peers.leaving.write import Extras, write_bundle
from peers.lineage import dsse
from peers.lineage import statement as statements
from peers.lineage.measured import ACCEPTING, CHANGE, REJECTING
from peers.lineage.statement import Lineage, Measure
from swarm.charter import restart as restarts
from swarm.charter.manifest import QualityVotes
from swarm.charter.restart import Restart, SignedRestart
from swarm.charter.signing import run_id
from swarm.state.chain import last_mark
from tests.governing import amendment
from tests.lineage.folders import ME, Play, make_state
from tests.lineage.test_verify import rewritten, signed, tapestry, with_lineage
from tests.simulation import MEMBER_KEYS, Simulation, make_charter, peer_identity

ELEMENTS = 600


async def amended(sim: Simulation) -> None:
    """The cap on a member's weight changes with round 3."""
    document = amendment(sim.run_info.rules, MEMBER_KEYS[:9], from_round=3, reduce={"min_contributors": 2})
    await sim.peers[1].store.save_document("dropped.json", document)
    await sim.until_round(5, 0)
    assert [sim.decided(0, number).value.epoch for number in (1, 5)] == [0, 1]


async def restarted(sim: Simulation) -> None:
    """Two of three are cut off for good; the founder goes on with peer 0 alone, from the round before the last."""
    await sim.until_round(3, 0)
    sim.kill(1)
    sim.kill(2)
    await asyncio.sleep(30)
    stood = sim.committed(0)
    payload = Restart(
        run_id=run_id(sim.charter),
        term=1,
        round=stood - 1,
        record=sim.decided(0, stood - 1).digest.hex(),
        peers=(peer_identity(0).peer_id,),
    )
    document = restarts.sign_restart(SignedRestart(restart=payload), sim.charter, MEMBER_KEYS[0])
    engine = sim.peers[0].engine
    assert engine is not None
    engine.restart((restarts.encode(document),))
    await sim.until_round(stood + 2, 0)
    assert last_mark(sim.run_info, sim.peers[0].store.load_record).electorate.term == 1


@pytest.mark.parametrize("play", [amended, restarted], ids=lambda play: play.__name__)
def test_the_chain_is_followed_through_changes_of_its_rules(play: Play, tmp_path: Path, key: Path) -> None:
    state = tmp_path / "state"
    charter = make_state(state, elements=ELEMENTS, play=play)
    signed(state, key)
    found = json.loads(tapestry("lineage", "verify", state, "--state", state, "--json"))
    coverage = found["coverage"]
    assert coverage["records"] == coverage["rounds"] == coverage["means"] >= 5 and coverage["weights"]
    left = write_bundle(state, tmp_path / "bundle.tar", ME, Extras(), at=0.0)
    assert left.records == left.means == coverage["rounds"] and left.run_id == run_id(charter)


def lineage_of(file: Path) -> Lineage:
    return statements.decode(dsse.read_envelope(file)[1], "here").predicate


def shrinks(base_N: np.ndarray) -> float:
    """A loss that the made-up updates lower."""
    return float(np.dot(base_N, base_N))


def grows(base_N: np.ndarray) -> float:
    return 1e6 / shrinks(base_N)


def test_members_votes_are_in_the_statement_and_no_others(tmp_path: Path, key: Path) -> None:
    state = tmp_path / "state"
    charter = msgspec.structs.replace(make_charter(3, elements=ELEMENTS), quality=QualityVotes())
    make_state(state, charter=charter, rounds=3, scores={0: shrinks, 1: shrinks, 2: grows})
    file = signed(state, key)
    lineage = lineage_of(file)
    told = {measure.name: measure.value for measure in lineage.evaluation}
    assert (told[ACCEPTING], told[REJECTING]) == (2.0, 1.0) and told[CHANGE] < 0
    assert ACCEPTING in tapestry("lineage", "show", state)
    tapestry("lineage", "verify", state, "--state", state)
    more = Measure(name="bits per byte", value=2.5)
    rewritten(file, with_lineage(evaluation=(*lineage.evaluation, more)))
    tapestry("lineage", "verify", state, "--state", state)
    better = tuple(msgspec.structs.replace(each, value=3.0) for each in lineage.evaluation)
    for lie in (better, (), lineage.evaluation[1:]):
        rewritten(file, with_lineage(evaluation=lie))
        assert "votes on the base" in tapestry("lineage", "verify", state, "--state", state, code=1)


def test_rounds_that_members_rejected_are_walked_and_counted(tmp_path: Path, key: Path) -> None:
    state = tmp_path / "state"
    charter = msgspec.structs.replace(make_charter(3, elements=ELEMENTS), quality=QualityVotes())
    make_state(state, charter=charter, rounds=2, scores={0: grows, 1: grows, 2: shrinks})
    lineage = lineage_of(signed(state, key))
    assert [span.rejected for span in lineage.rounds] == [2] and not lineage.evaluation
    assert {seat.tokens for span in lineage.rounds for seat in span.roster} == {0}
    found = json.loads(tapestry("lineage", "verify", state, "--state", state, "--json"))
    assert found["coverage"]["means"] == 2 and found["coverage"]["weights"]
