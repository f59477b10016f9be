"""`tapestry charter restart` as founders type it, from a survivor's state folder to a document peers accept."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from peers.cli.app import app
from swarm.charter import files
from swarm.charter.signing import SignedCharter, sign_charter
from swarm.state.chain import Mark
from swarm.state.run import Run
from swarm.state.store import DiskStore
from tests.simulation import MEMBER_KEYS, peer_identity
from tests.unit.state.samples import make_chain, small_charter

CHARTER = small_charter()
RUN = Run(CHARTER)
CHAIN = make_chain(RUN, 2)
SURVIVORS = ("--peer", peer_identity(0).peer_id, "--peer", peer_identity(1).peer_id)


def tapestry(*words: object, code: int = 0) -> str:
    """Runs `tapestry charter restart ...`; what it printed, or the cause it failed with."""
    result = CliRunner().invoke(app, ["charter", "restart", *(str(word) for word in words)])
    assert result.exit_code == code, result.output
    if code:
        assert result.stderr.startswith("tapestry: ") and result.stderr.count("\n") == 1
    return result.stderr if code else result.stdout


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A signed charter, its founder's key, and a state folder with two rounds in it."""
    files.write(tmp_path / "charter.toml", sign_charter(SignedCharter(charter=CHARTER), MEMBER_KEYS[0]))
    MEMBER_KEYS[0].save(tmp_path / "founder.key")
    MEMBER_KEYS[1].save(tmp_path / "stranger.key")
    store = DiskStore(tmp_path / "state")
    for made in CHAIN:
        asyncio.run(store.save_record(made.value.round, made.record))
    return tmp_path


def test_from_a_state_folder_to_a_document_that_peers_take(place: Path) -> None:
    out, charter = place / "restart.json", ("--charter", place / "charter.toml")
    made = json.loads(tapestry("new", out, *charter, "--state", place / "state", *SURVIVORS, "--json"))
    assert (made["term"], made["round"], made["record"]) == (1, 2, CHAIN[-1].digest.hex())
    assert "has 0" in tapestry("verify", out, *charter, code=1)
    assert "1 valid" in tapestry("sign", out, *charter, "--identity", place / "founder.key")
    assert json.loads(tapestry("verify", out, *charter, "--json"))["peers"] == list(SURVIVORS[1::2])
    mark: Mark = CHAIN[-1].after.mark
    assert mark.restarted(RUN, (out.read_bytes(),)).electorate.voices.all == 2


def test_what_a_person_may_get_wrong(place: Path) -> None:
    out, charter = place / "restart.json", ("--charter", place / "charter.toml")
    state = ("--state", place / "state")
    assert "--state, --round, or both" in tapestry("new", out, *charter, *SURVIVORS, code=2)
    assert "does not exist" in tapestry("new", out, *charter, "--state", place / "none", *SURVIVORS, code=2)
    assert "twice" in tapestry("new", out, *charter, *state, *SURVIVORS, *SURVIVORS, code=1)
    assert "--peer" in tapestry("new", out, *charter, *state, "--peer", "me", code=2)
    assert "64 lowercase" in tapestry("new", out, *charter, "--round", 2, "--record", "ab", *SURVIVORS, code=1)
    assert not out.exists()
    tapestry("new", out, *charter, *state, *SURVIVORS)
    assert "exists already" in tapestry("new", out, *charter, *state, *SURVIVORS, code=2)
    assert "founders" in tapestry("sign", out, *charter, "--identity", place / "stranger.key", code=1)
    out.write_bytes(out.read_bytes().replace(b'"term":1', b'"term": 1'))
    assert "canonical" in tapestry("verify", out, *charter, code=1)


def test_from_an_earlier_round_of_a_state_folder(place: Path) -> None:
    out, state = place / "restart.json", ("--charter", place / "charter.toml", "--state", place / "state")
    made = json.loads(tapestry("new", out, *state, "--round", 1, *SURVIVORS, "--json"))
    assert (made["term"], made["round"], made["record"]) == (1, 1, CHAIN[0].digest.hex())
    zero = json.loads(tapestry("new", place / "zero.json", *state, "--round", 0, *SURVIVORS, "--json"))
    assert (zero["round"], zero["record"]) == (0, "")
    assert "end at round 2: round 3 is not" in tapestry(
        "new", place / "x.json", *state, "--round", 3, *SURVIVORS, code=1
    )
