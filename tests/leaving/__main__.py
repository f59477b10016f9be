"""Leaving a real swarm, and being believed: `make leaving` (about two minutes; Linux with network namespaces).

Three peers train; ada keeps an archive, bo does not. While they are at work both leave with a bundle. Then everybody is
killed. On a machine that has no network, an empty home and nothing but the run id, both bundles are checked, the model
is loaded, and its lineage is replayed from state 0. At last ada goes on from what it restored, and the swarm with it.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from swarm import events
from swarm.state.store import KEPT_ROUNDS
from tests.integration.conftest import Crew
from tests.integration.processes import tapestry
from tests.screens.swarm import small_swarm

ROUNDS = KEPT_ROUNDS + 5
LIMIT_S = 600.0
"""Of one command, on a machine that is busy with something else."""
APART = ("unshare", "--user", "--map-root-user", "--net")
NOTHING_BUT_LOOPBACK = ("sh", "-c", 'test "$(grep -c : /proc/net/dev)" = 1 && exec "$@"', "sh")
LOADS = """
import sys
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], local_files_only=True, use_safetensors=True)
print(sum(each.numel() for each in model.parameters()))
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name, small_swarm(Path(name), archive=("ada",)) as (crew, _):
        folder = Path(name)
        for peer in ("ada", "bo"):
            crew[peer].wait_for_round(ROUNDS)
        ada, bo = (left(crew, peer, folder / f"{peer}.tar") for peer in ("ada", "bo"))
        assert ada["means"] == ada["round"] >= ROUNDS, "an archive can be replayed from state 0"
        assert 0 < bo["means"] <= KEPT_ROUNDS < bo["round"], "others keep the last rounds' means"
        crew.end()
        crew.bootstrap.kill()
        checked_alone(crew, folder, {"ada": ada, "bo": bo})
        restored(crew, folder, ada)
        goes_on(crew, folder, ada)
    print("leaving: all is as it should be")


def left(crew: Crew, peer: str, bundle: Path) -> dict[str, Any]:
    """A bundle of a peer at work, and what making it has found."""
    papers, state = crew.papers.of(peer), crew[peer].state
    words = ("--out", bundle, "--identity", papers.identity, "--passport", papers.passport, "--json")
    found = said(tapestry("exit", state, *words, limit_s=LIMIT_S))
    assert crew[peer].is_running and found["records"] == found["round"] and found["ledger_entries"] > 0
    assert (found["policies"], found["policies_missing"]) == (1, 0) and found["countersigned_frames"] > 0
    say(f"{peer} left at round {found['round']} with {found['files']} files, {bundle.stat().st_size:,} bytes")
    return found


def checked_alone(crew: Crew, folder: Path, made: dict[str, dict[str, Any]]) -> None:
    """Both bundles where there is no network, and one of them beside the heads that another peer holds."""
    for peer, found in made.items():
        again = said(alone(folder, "-m", "peers", "exit", "verify", folder / f"{peer}.tar", *run_id(crew), "--json"))
        assert {key: again[key] for key in ("round", "state_digest", "records", "means", "files", "models")} == {
            key: found[key] for key in ("round", "state_digest", "records", "means", "files", "models")
        }
    words = ("exit", "verify", folder / "ada.tar", *run_id(crew), "--witness", crew["bo"].state, "--json")
    witnessed = said(tapestry(*words, limit_s=LIMIT_S))
    assert witnessed["ledger"] == "witnessed" and witnessed["later_heads"] > 0, "ada trained on after it had left"
    say("both bundles hold without a network, for who knows the run id alone; bo's heads witness ada's ledger")


def restored(crew: Crew, folder: Path, found: dict[str, Any]) -> None:
    """The model loads, and its statement leads back to the charter, with every mean replayed."""
    alone(folder, "-m", "peers", "exit", "restore", folder / "ada.tar", *run_id(crew), "--out", folder / "back")
    state = folder / "back" / "state"
    elements = alone(folder, "-c", LOADS, state / "shared-base").stdout
    assert int(elements) == crew.papers.charter.model.parameters
    checked = said(alone(folder, "-m", "peers", "lineage", "verify", state, "--state", state, "--json"))
    rounds = found["round"]
    assert checked["state_digest"] == found["state_digest"]
    assert checked["coverage"] | {"files": 0} == {
        "files": 0,
        "records": rounds,
        "rounds": rounds,
        "means": rounds,
        "weights": True,
    }
    for form in ("spdx", "cyclonedx", "eu-summary"):
        alone(folder, "-m", "peers", "lineage", "export", state, "--format", form, "--out", folder / form)
    say(f"{elements.strip()} parameters load; {rounds} of {rounds} means replayed; three exports written")


def goes_on(crew: Crew, folder: Path, found: dict[str, Any]) -> None:
    """The same peer from the restored folder, and the others from their own."""
    crew.folder, before = folder / "back", crew.folder
    (folder / "back" / "state").rename(folder / "back" / "ada")
    ada = crew.start("ada", "--archive")
    crew.folder = before
    for name in ("bo", "cy"):
        crew.start(name)
    last = max(crew[name].round for name in ("bo", "cy"))
    ada.wait_for(events.RoundCommitted, lambda event: event.round > last and ada.id in event.contributors)
    ready = ada.happened(events.StateReady)[0]
    assert ready.round >= found["round"] and ada.round > found["round"]
    say(f"ada went on from round {found['round']} and is in round {ada.round} with the others")


def run_id(crew: Crew) -> tuple[str, str]:
    return "--run-id", crew.papers.run_id


def alone(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Python where there is no network, no home and nothing of this run but what is named."""
    nothing = folder / "nothing"
    nothing.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(nothing), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [*APART, *NOTHING_BUT_LOOPBACK, sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=nothing, env=environment, capture_output=True, text=True, check=False)


def said(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The JSON document of a command that has succeeded."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
