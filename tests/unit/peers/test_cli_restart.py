"""`tapestry charter restart` as founders type it, from a survivor's state folder to a document peers accept."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from peers.cli.app import app
from swarm.charter import files
from swarm.charter.manifest import Charter
from swarm.charter.signing import SignedCharter, sign_charter
from swarm.state.chain import Mark
from swarm.state.run import Run
from swarm.state.store import DiskStore
from tests.governing import amendment, changed
from tests.simulation import CREATED_S, MEMBER_KEYS, peer_identity
from tests.unit.state.samples import MadeRound, make_chain, make_round, small_charter, zero_head

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
    return lay_out(tmp_path, CHARTER, CHAIN)


def lay_out(folder: Path, charter: Charter, chain: list[MadeRound]) -> Path:
    files.write(folder / "charter.toml", sign_charter(SignedCharter(charter=charter), MEMBER_KEYS[0]))
    MEMBER_KEYS[0].save(folder / "founder.key")
    MEMBER_KEYS[1].save(folder / "stranger.key")
    store = DiskStore(folder / "state")
    for made in chain:
        asyncio.run(store.save_record(made.value.round, made.record))
    return folder


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


@pytest.mark.parametrize("is_on_record", [False, True])
def test_a_run_whose_expiry_was_amended_is_restarted_past_the_first_one(tmp_path: Path, is_on_record: bool) -> None:
    run = Run(changed(CHARTER, run={"expires": CREATED_S + 10**6}))
    extended = amendment(run.rules, MEMBER_KEYS[:9], run={"expires": CREATED_S + 10**9})
    crew = [peer_identity(number) for number in range(3)]
    documents = (extended,) if is_on_record else ()
    made = asyncio.run(make_round(run, zero_head(run), crew, documents=documents))
    place = lay_out(tmp_path, run.charter, [made])
    out, charter = place / "restart.json", ("--charter", place / "charter.toml")
    words = ("new", out, *charter, "--state", place / "state", *SURVIVORS)
    if not is_on_record:
        assert "has expired" in tapestry(*words, code=1) and not out.exists()
        (place / "state" / "governance" / "dropped.json").write_bytes(extended)
    tapestry(*words)
    tapestry("sign", out, *charter, "--identity", place / "founder.key")
    assert json.loads(tapestry("verify", out, *charter, "--json"))["round"] == 1
