"""`tapestry peer --trainer`: a user's own script is confined like the built-in trainer, and trains all the same."""

import json
from pathlib import Path

import pytest

from swarm import events
from swarm.identity.key import Identity
from swarm.isolation import levels
from tests.integration.conftest import LOOPBACK
from tests.integration.processes import Peer, Running, tapestry, wait_for

ROUNDS = 2
SCRIPT = """
import json, os, socket
import torch
import swarm

def came_of(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"

{before}
torch.manual_seed(0)
model = torch.nn.Linear(4, 2)
run = swarm.join()
optimizer = run.wrap(model, torch.optim.SGD(model.parameters(), lr=0.1))
text = open({data!r}).read()
while not optimizer.is_finished:
    model(torch.ones(1, 4)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
run.close()
print("trained on", len(text), "characters")
report = dict(
    socket=came_of(socket.socket),
    key=came_of(lambda: open({key!r})),
    state=came_of(lambda: open({state!r} + "/ledger.jsonl")),
    scratch=came_of(lambda: open(os.environ["TAPESTRY_SCRATCH"] + "/mine", "w").close()),
)
json.dump(report, open(os.environ["TAPESTRY_SCRATCH"] + "/report.json", "w"))
"""
POLICY = """
version = 2
isolation = "{isolation}"
[[dataset]]
name = "texts"
files = ["*.txt"]
label = "open"
residency = "DE"
licence = "CC0-1.0"
language = "de"
uses = ["shared-base"]
"""


class Place:
    """An open run of one peer, its data and its script."""

    def __init__(self, folder: Path) -> None:
        import torch
        from safetensors.torch import save_file

        self.folder = folder
        torch.manual_seed(0)
        save_file(dict(torch.nn.Linear(4, 2).named_parameters()), str(folder / "model.safetensors"))
        for name in ("founder", "peer"):
            Identity.generate().save(folder / f"{name}.key")
        founder, peer = (Identity.load(folder / f"{name}.key").peer_id for name in ("founder", "peer"))
        self.charter = folder / "run.toml"
        words = ["--adopt", folder / "model.safetensors", "--open", "--name", "script", "--region", "eu=DE"]
        words += ["--min-contributors", 1, "--founder", founder, "--inner-steps", 3, "--genesis", peer]
        assert tapestry("charter", "new", self.charter, *words).returncode == 0
        assert tapestry("charter", "sign", self.charter, "--identity", folder / "founder.key").returncode == 0
        (folder / "data").mkdir()
        (folder / "data" / "a.txt").write_text("something to learn from")
        (folder / "own").mkdir()

    def peer(self, name: str, join: str, isolation: str, before: str = "") -> Peer:
        """Started, with a script that runs `before` first."""
        state, key = self.folder / name, self.folder / "peer.key"
        (self.folder / "data" / "policy.toml").write_text(POLICY.format(isolation=isolation))
        data = self.folder / "data" / "a.txt"
        script = SCRIPT.format(before=before, data=str(data), key=str(key), state=str(state))
        (self.folder / "own" / f"{name}.py").write_text(script)
        return Peer(
            *(state, "--join", join, "--identity", key, "--data", self.folder / "data", "--listen", LOOPBACK),
            *("--jurisdiction", "DE", "--max-rounds", ROUNDS),
            *("--trainer", f"python {self.folder / 'own' / name}.py"),
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("script"))


@pytest.fixture(scope="module")
def join(place: Place):
    bootstrap = Running("bootstrap", "--charter", place.charter, "--state", place.folder / "b", "--listen", LOOPBACK)
    wait_for("the bootstrap node", lambda: "\n" in bootstrap.stdout)
    yield bootstrap.stdout.splitlines()[0]
    bootstrap.process.kill()
    bootstrap.end()


def test_a_script_trains_in_confinement(place: Place, join: str) -> None:
    peer = place.peer("good", join, levels.NONE)
    assert peer.end() == 0, peer.stderr
    (ready,) = peer.happened(events.TrainerReady)
    assert peer.round == ROUNDS
    scratch = peer.state / "trainer"
    assert "trained on 23 characters" in (scratch / "output.log").read_text()
    report = json.loads((scratch / "report.json").read_text())
    assert report.pop("scratch") == "done" and (scratch / "mine").exists()
    assert report.pop("socket") == "PermissionError"
    if ready.isolation == levels.CONFINED:
        assert set(report.values()) <= {"PermissionError", "FileNotFoundError"}, report


def test_a_script_that_sends_its_node_more_than_reports_ends_the_peer(place: Place, join: str) -> None:
    flood = "os.write(int(os.environ['TAPESTRY_CONTROL_FD']), b'x' * 100_000)"
    peer = place.peer("flood", join, levels.NONE, before=flood)
    assert peer.end() == 1
    (cause,) = [line for line in peer.stderr.splitlines() if line.startswith("tapestry: ")]
    assert "the trainer" in cause and ("more to its node" in cause or "longer than any" in cause)
    assert not peer.happened(events.RoundCommitted)


def test_a_script_that_fails_is_quoted(place: Place, join: str) -> None:
    peer = place.peer("bad", join, levels.NONE, before="raise SystemExit('no such optimizer')")
    assert peer.end() == 1
    assert "tapestry: no such optimizer" in peer.stderr.splitlines()
