"""Library use by real processes: examples/plain_pytorch.py twice, with a charter that a person's commands made."""

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from swarm.identity.key import Identity
from tests.integration.conftest import LOOPBACK
from tests.integration.processes import ENVIRONMENT, Running, tapestry, wait_for

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "plain_pytorch.py")
ROUNDS = 4


def _found(place: Path, *more: object) -> Path:
    """An open run for the example's model, with two genesis peers."""
    model, charter = place / "untrained.safetensors", place / "run.toml"
    subprocess.run([sys.executable, EXAMPLE, "--save-model", str(model)], check=True, env=ENVIRONMENT)
    for name in ("founder", "peer0", "peer1"):
        Identity.generate().save(place / f"{name}.key")
    words = ["--adopt", model, "--open", "--name", "regression", "--region", "eu=DE", "--min-contributors", 1]
    words += ["--founder", Identity.load(place / "founder.key").peer_id, "--inner-steps", 3, *more]
    for number in range(2):
        words += ["--genesis", Identity.load(place / f"peer{number}.key").peer_id]
    assert tapestry("charter", "new", charter, *words).returncode == 0
    assert tapestry("charter", "sign", charter, "--identity", place / "founder.key").returncode == 0
    return charter


@pytest.mark.parametrize("mode", ["diloco", "gradient"])
def test_two_plain_loops_end_with_the_same_shared_base(tmp_path: Path, mode: str) -> None:
    outer = ["--outer", "adamw", "--outer-lr", 0.01] if mode == "gradient" else []
    charter = _found(tmp_path, "--mode", mode, *outer)
    bootstrap = Running("bootstrap", "--charter", charter, "--state", tmp_path / "bootstrap", "--listen", LOOPBACK)
    try:
        wait_for("the bootstrap node", lambda: "\n" in bootstrap.stdout)
        join = bootstrap.stdout.splitlines()[0]
        loops = [
            Running(
                *("--charter", charter, "--bootstrap", join, "--identity", tmp_path / f"peer{number}.key"),
                *("--state", tmp_path / f"state{number}", "--listen", LOOPBACK, "--rounds", ROUNDS),
                *("--seed", number, "--out", tmp_path / f"out{number}.safetensors"),
                command=(sys.executable, EXAMPLE),
            )
            for number in range(2)
        ]
        for loop in loops:
            assert loop.end() == 0, loop.stderr
            assert f"Shared Base of round {ROUNDS}" in loop.stdout
    finally:
        bootstrap.process.kill()
        bootstrap.end()
    untrained = load_file(tmp_path / "untrained.safetensors")
    first, second = (load_file(tmp_path / f"out{number}.safetensors") for number in range(2))
    assert first.keys() == second.keys() == untrained.keys()
    for name in untrained:
        assert first[name].equal(second[name]), name
        assert not first[name].equal(untrained[name]), name
