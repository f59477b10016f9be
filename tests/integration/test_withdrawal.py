"""A data set is withdrawn from a real peer: the report, the founders' restart it names, the run without it."""

import json
import shlex
from pathlib import Path

from typer.testing import CliRunner

from peers.cli.app import app
from swarm import events
from swarm.identity.key import Identity
from swarm.sovereignty.trained import read_sessions
from tests.integration.conftest import LOOPBACK
from tests.integration.papers import MODEL, write_data
from tests.integration.processes import Peer, Running, wait_for

POLICY = "version = 2\n"
DATASET = """
[[dataset]]
name = "{name}"
files = ["{name}.txt"]
label = "open"
residency = "DE"
licence = "CC0-1.0"
language = "de"
uses = ["shared-base"]
"""


def tapestry(*words: object) -> str:
    """A command that needs no process of its own."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


def label(data: Path, *names: str) -> None:
    (data / "policy.toml").write_text(POLICY + "".join(DATASET.format(name=name) for name in names))


def found_run(folder: Path) -> Path:
    """An open run of one peer, signed by its founder."""
    (folder / "model.json").write_text(json.dumps(MODEL))
    for name in ("founder", "peer"):
        Identity.generate().save(folder / f"{name}.key")
    founder, peer = (Identity.load(folder / f"{name}.key").peer_id for name in ("founder", "peer"))
    charter = folder / "run.toml"
    words = ["--config", folder / "model.json", "--open", "--name", "letters", "--region", "eu=DE"]
    words += ["--min-contributors", 1, "--founder", founder, "--inner-steps", 2, "--genesis", peer]
    words += ["--batch-size", 1, "--sequence-length", 32]
    tapestry("charter", "new", charter, *words)
    tapestry("charter", "sign", charter, "--identity", folder / "founder.key")
    return charter


def report(state: Path) -> dict:
    return json.loads(tapestry("audit", "withdraw", "letters", "--state", state, "--json"))


def test_a_run_goes_on_without_withdrawn_data_from_the_last_clean_base(tmp_path: Path) -> None:
    charter = found_run(tmp_path)
    data, state = write_data(tmp_path / "data", "letters"), tmp_path / "state"
    (text,) = data.glob("*.txt")
    for name in ("manuals", "letters"):
        (data / f"{name}.txt").write_bytes(text.read_bytes() + name.encode())
    text.unlink()
    bootstrap = Running("bootstrap", "--charter", charter, "--state", tmp_path / "b", "--listen", LOOPBACK)
    try:
        wait_for("the bootstrap node", lambda: "\n" in bootstrap.stdout)
        words = ("--join", bootstrap.stdout.splitlines()[0], "--identity", tmp_path / "peer.key", "--data", data)
        words = (*words, "--listen", LOOPBACK, "--jurisdiction", "DE")
        label(data, "manuals", "letters")
        assert Peer(state, *words, "--max-rounds", 3).end() == 0
        found = report(state)
        assert (found["rounds"], found["last_clean"]["round"], found["faults"]) == ([1, 2, 3], 0, [])
        assert str(state / "snapshots" / f"{3:09d}") in found["copies"] and found["restart"]["round"] == 0
        new = shlex.split(found["restart"]["command"])[1:]
        new[new.index("restart.json")] = str(tmp_path / "restart.json")
        tapestry(*new)
        sign = ("charter", "restart", "sign", tmp_path / "restart.json", "--charter", charter)
        tapestry(*sign, "--identity", tmp_path / "founder.key")
        label(data, "manuals")
        (data / "letters.txt").unlink()
        peer = Peer(state, *words, "--max-rounds", 4, "--restart", tmp_path / "restart.json")
        assert peer.end() == 0, peer.stderr
    finally:
        bootstrap.process.kill()
        bootstrap.end()
    (switched,) = peer.happened(events.ChainSwitched)
    assert (switched.from_round, switched.to_round) == (3, 0)
    assert [event.round for event in peer.happened(events.RoundCommitted)] == [1, 2, 3, 4]
    assert any("(letters) is dropped" in note.text for note in peer.happened(events.Note))
    assert [len(session.data) for session in read_sessions(state)] == [2, 1]
    again = report(state)
    assert (again["rounds"], again["last_clean"]["round"]) == ([], 4)
