"""Two real peers tell a stand-in for Weights & Biases and Trackio of their rounds; W&B's own library speaks to it too.

What arrives is what the ledger has, byte for byte, and no request has anything that is not on the list of figures.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import blake3
import msgspec
import pytest

from swarm.identity.key import Identity
from swarm.sovereignty.ledger import read_totals
from swarm.telemetry.figures import Figures
from tests.ecosystem.pair import NAMES, Pair
from tests.ecosystem.stand_in import Received, StandIn
from tests.integration import processes
from tests.integration.papers import MODEL
from tests.integration.processes import tapestry

ROUNDS = 3
KEY = "k" * 40
SECRET = "the text of ada"
FIGURES = {field.name for field in msgspec.structs.fields(Figures)}


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """It is where the peers' environment says that both services are."""
    with StandIn() as server:
        monkeypatch.setitem(processes.ENVIRONMENT, "WANDB_API_KEY", KEY)
        monkeypatch.setitem(processes.ENVIRONMENT, "WANDB_BASE_URL", server.address)
        monkeypatch.setitem(processes.ENVIRONMENT, "TRACKIO_SERVER_URL", f"{server.address}/?write_token={KEY}")
        yield server


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    config = tmp_path / "model.json"
    config.write_text(json.dumps(MODEL))
    words = ["--inner-steps", 3, "--sequence-length", 32, "--quorum", "majority"]  # which takes controlled data too
    made = Pair(tmp_path, "--config", config, *words)
    for name in NAMES:
        letters = random.Random(name)
        text = "".join(letters.choices("abc ", k=2000))
        (tmp_path / name / "secret-name.txt").write_text(f"the text of {name} {text}")
    return made


def test_figures_arrive_and_are_on_record(pair: Pair, stand_in: StandIn, tmp_path: Path) -> None:
    pair.label("ada", top=f'figures_to = ["{stand_in.address}"]')
    pair.label("bo")
    words = {"ada": ["--sink", "wandb:loom", "--sink", "trackio:loom"], "bo": []}
    peers = pair.run(ROUNDS, words)

    assert [line["round"] for line in stand_in.history()] == list(range(1, ROUNDS + 1))
    assert [line["metrics"]["round"] for line in stand_in.logs()] == list(range(1, ROUNDS + 1))
    assert all(line["loss"] > 0 and line["counted"] == 2 for line in stand_in.history())
    entries = [entry for entry in peers["ada"].ledger() if entry["kind"] == "figures"]
    received = sorted((blake3.blake3(each.on_record).hexdigest(), len(each.on_record)) for each in stand_in.received)
    assert sorted((entry["digest"], entry["bytes"]) for entry in entries) == received
    assert {entry["peer"] for entry in entries} == {stand_in.address}
    decided = [entry["permit"] for entry in peers["ada"].ledger() if entry["permit"].startswith("permit/figures/")]
    assert len(decided) == 2
    assert tapestry("audit", "verify", peers["ada"].state / "ledger.jsonl").returncode == 0
    assert "figures" not in read_totals(peers["bo"].state / "ledger.jsonl")

    other = Identity.load(tmp_path / "bo.key").peer_id
    for each in stand_in.received:
        content = each.on_record.decode()
        assert not any(word in content for word in (SECRET, "secret-name", other, str(tmp_path), os.uname().nodename))
    told = set().union(*stand_in.history(), *(line["metrics"] for line in stand_in.logs()))
    assert told <= FIGURES | {"_step", "_timestamp"}
    state = peers["ada"].state
    assert not any(KEY.encode() in path.read_bytes() for path in state.rglob("*") if path.is_file())


def test_of_controlled_data_no_loss_is_told_and_nothing_without_the_policy(pair: Pair, stand_in: StandIn) -> None:
    for name in NAMES:
        pair.label(name, top=f'figures_to = ["{stand_in.address}"]')
        policy = pair.folder / name / "policy.toml"
        policy.write_text(policy.read_text().replace('"open"', '"controlled"'))
    pair.run(1, {name: ["--sink", "trackio:loom"] for name in NAMES})
    assert len(stand_in.logs()) == 2 and not any("loss" in line["metrics"] for line in stand_in.logs())

    pair.label("ada")
    stand_in.received.clear()
    words = ["--join", f"/ip4/127.0.0.1/tcp/9/p2p/{Identity.load(pair.folder / 'bo.key').peer_id}"]
    words += ["--data", pair.folder / "ada", "--state", pair.folder / "other"]
    refused = tapestry("peer", *words, "--sink", "wandb:loom")
    assert refused.returncode == 1 and "figures_to" in refused.stderr and "[service_not_named]" in refused.stderr
    assert not stand_in.received


SCRIPT = """
import wandb
run = wandb.init(project="loom", name="it", config={"run_id": "x"}, dir=__import__("sys").argv[1])
for step in range(3):
    run.log({"loss": 1.0, "tokens": step})
run.finish()
"""


def test_the_requests_have_the_form_of_those_of_wandb_itself(pair: Pair, stand_in: StandIn, tmp_path: Path) -> None:
    environment = {**os.environ, "WANDB_API_KEY": KEY, "WANDB_BASE_URL": stand_in.address, "HOME": str(tmp_path)}
    environment |= {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    theirs = list(stand_in.received)
    stand_in.received.clear()
    for name in NAMES:
        pair.label(name, top=f'figures_to = ["{stand_in.address}"]')
    pair.run(1, {"ada": ["--sink", "wandb:loom"], "bo": []})
    ours = list(stand_in.received)

    upsert, own_upsert = (
        next(each for each in all_ if "upsertBucket" in each.json["query"]) for all_ in (theirs, ours)
    )
    assert (own_upsert.method, own_upsert.path) == (upsert.method, upsert.path)
    assert own_upsert.json["operationName"] == upsert.json["operationName"]
    assert own_upsert.json["variables"].keys() <= upsert.json["variables"].keys()
    configs = [json.loads(each.json["variables"]["config"]) for each in (upsert, own_upsert)]
    assert all(value.keys() == {"value"} for config in configs for value in config.values())
    assert own_upsert.headers["Authorization"] == upsert.headers["Authorization"]

    stream, own_stream = (_with_history(all_) for all_ in (theirs, ours))
    assert own_stream.path.split("/")[:4] == stream.path.split("/")[:4]
    assert own_stream.path.split("/")[5:] == stream.path.split("/")[5:] == ["file_stream"]
    assert own_stream.json["files"].keys() <= stream.json["files"].keys()
    history, own_history = (each.json["files"]["wandb-history.jsonl"] for each in (stream, own_stream))
    assert own_history.keys() == history.keys() and (own_history["offset"], history["offset"]) == (0, 0)
    lines, own_lines = ([json.loads(line) for line in each["content"]] for each in (history, own_history))
    assert {"_step", "_timestamp"} <= own_lines[0].keys() & lines[0].keys()
    end, own_end = (all_[-1].json if all_[-1].path.endswith("file_stream") else {} for all_ in (theirs, ours))
    assert own_end["complete"] and own_end["exitcode"] == 0
    assert end == {} or (end["complete"] and end["exitcode"] == 0)
    assert {each.path for each in theirs if each.path.startswith("/store/")}, "what their library sends beside figures"
    assert not any(each.path.startswith("/store/") for each in ours)


def _with_history(received: list[Received]) -> Received:
    return next(
        each for each in received if each.path.endswith("/file_stream") and "wandb-history.jsonl" in each.json["files"]
    )
