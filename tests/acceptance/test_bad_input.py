"""Bad input, by name: what a policy file, a ledger or a privacy account may not be. Each has its reason code.

What other peers may do wrong in a round is in test_bad_peers.py.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from peers.cli.app import app
from swarm.sovereignty.decisions import Decision
from swarm.sovereignty.gate import Denied, Gate, InForce
from swarm.sovereignty.labels import Label
from swarm.sovereignty.lattice import restrictions_of
from swarm.sovereignty.policy import read_policy
from swarm.sovereignty.privacy import Receipt, Spent, budget_of
from swarm.vector.grid import Grid
from tests.acceptance.papers import NEAR, table, write_data
from tests.unit.sovereignty.ledgers import ADA, BO, Machine, forge

JOIN = f"/ip4/127.0.0.1/tcp/1/p2p/{NEAR}"
DP = "[dp]\nepsilon = 2.0\nnoise_multiplier = 1.0\nmax_grad_norm = 1.0\n"


def tapestry(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(
    ("name", "bend", "code"),
    [
        ("unknown label", lambda text: text.replace("'open'", "'public'"), "unknown_label"),
        ("missing label", lambda text: text.replace("label = 'open'\n", ""), "unlabelled"),
        ("missing field", lambda text: text.replace("residency = 'DE'\n", ""), "missing_field"),
        ("newer policy version", lambda text: text.replace("version = 2", "version = 3"), "unknown_version"),
        ("key of a newer version", lambda text: text + "embargo = 2030\n", "unknown_key"),
    ],
)
def test_policy_file(name: str, bend: Callable[[str], str], code: str, tmp_path: Path) -> None:
    """Refused before anything starts: not even a state folder is made, so nothing was sent to anybody."""
    data = write_data(tmp_path / "data", table())
    text = (data / "policy.toml").read_text()
    assert bend(text) != text
    (data / "policy.toml").write_text(bend(text))
    exit_code, out, cause = tapestry("peer", "--join", JOIN, "--data", data, "--state", tmp_path / "never")
    assert (exit_code, out) == (1, "") and f"[{code}]" in cause and cause.count("\n") == 1, name
    assert not (tmp_path / "never").exists()


LEDGERS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "truncated": (lambda lines: lines[:5], "truncated"),
    "truncated at its beginning": (lambda lines: lines[3:], "missing"),
    "gap": (lambda lines: [*lines[:4], *lines[5:]], "missing"),
    "reordered": (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], "reordered"),
    "repeated": (lambda lines: [*lines[:3], lines[1], *lines[3:]], "reordered"),
    "edited": (lambda lines: [*lines[:2], lines[2].replace(b'"bytes":', b'"bytes":1'), *lines[3:]], "edited"),
    "no ledger": (lambda lines: [b"[]\n"], "not_a_ledger"),
}


@pytest.mark.parametrize("name", LEDGERS)
def test_ledger(name: str, tmp_path: Path) -> None:
    """Found offline, from the file and the heads its owner signed."""
    ada = Machine(tmp_path / "ada", ADA)
    ada.send(BO.peer_id, 8)
    ada.sign()
    assert tapestry("audit", "verify", ada.path)[0] == 0
    bend, code = LEDGERS[name]
    ada.rewrite(bend(ada.lines))
    exit_code, out, cause = tapestry("audit", "verify", ada.path, "--json")
    found = json.loads(out)
    assert (exit_code, found["verdict"]) == (1, "refuted") and code in found["codes"]
    assert code in cause.rsplit("[", 1)[-1]


def test_ledger_rewritten_and_signed_anew(tmp_path: Path) -> None:
    """Consistent with itself, and refuted by the head that an honest peer was shown."""
    ada, bo = Machine(tmp_path / "ada", ADA), Machine(tmp_path / "bo", BO)
    ada.send(BO.peer_id, 8)
    bo.witness(ada.sign())
    (ada.folder / "heads.jsonl").unlink()
    forge(ada, 8, changed=2)
    ada.sign()
    exit_code, out, _ = tapestry("audit", "verify", ada.path)
    assert exit_code == 0 and out.startswith("self-consistent, unwitnessed")
    exit_code, out, cause = tapestry("audit", "verify", ada.path, "--witness", bo.folder, "--json")
    assert (exit_code, json.loads(out)["codes"]) == (1, ["rewritten"]) and cause.endswith("[rewritten]\n")


@pytest.mark.parametrize(
    ("epsilon", "update_steps", "code"),
    [(1.9, 3, "allowed"), (1.9, 0, "privacy_budget_spent"), (2.1, 3, "privacy_budget_exceeded")],
)
def test_epsilon_exhausted(epsilon: float, update_steps: int, code: str, tmp_path: Path) -> None:
    """No permit, so nothing can be sent; the denial is on record before anybody is told."""
    data = write_data(tmp_path / "data", table(privacy="dp", label="sovereign"))
    (data / "policy.toml").write_text((data / "policy.toml").read_text() + DP)
    rules = read_policy(data / "policy.toml")
    assert rules.dp is not None
    decided: list[Decision] = []
    gate = Gate(
        region="eu",
        label=Label.SOVEREIGN,
        min_contributors=3,
        policy=InForce(rules.digest, restrictions_of(rules.datasets[0], rules.isolation)),
        budget=budget_of(rules.dp, 1e-6),
        decided=decided.append,
    )
    spent = Spent("sequence", epsilon, 1e-6, 1.0, 1.0, 40, "RDP")
    verdict = gate.check_update(
        round_number=7,
        update_N=np.full(4, 0.1, np.float32),
        grid=Grid(4, 4),
        max_rms=1.0,
        recipients={NEAR: "eu"},
        regions=("eu",),
        receipt=Receipt(spent, update_steps),
    )
    assert isinstance(verdict, Denied) == (code != "allowed")
    assert [(one.subject, one.round, one.code, one.policy) for one in decided] == [("update", 7, code, rules.digest)]
