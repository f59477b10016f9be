"""`tapestry audit` as a person types it: what it prints, and how it exits."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from peers.cli.app import app
from swarm.sovereignty import statements
from tests.governing import changed
from tests.lineage.folders import make_state
from tests.simulation import CREATED_S, make_charter
from tests.unit.sovereignty.ledgers import ADA, BO, Machine


def tapestry(*words: object, code: int = 0) -> tuple[str, str]:
    """Runs a command; its stdout and stderr. A failure is one line on stderr."""
    result = CliRunner().invoke(app, ["audit", *map(str, words)])
    assert result.exit_code == code, result.output
    if code:
        assert result.stderr.startswith("tapestry: ") and result.stderr.count("\n") == 1
    return result.stdout, result.stderr


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Machine, Machine]:
    ada, bo = Machine(tmp_path / "ada", ADA), Machine(tmp_path / "bo", BO)
    sent = ada.send(BO.peer_id, 5)
    bo.countersign(ADA.peer_id, sent[:4])
    bo.send("directory", 1)
    bo.witness(ada.sign())
    bo.sign()
    ada.send("directory", 2)
    return ada, bo


def test_verify_alone_and_with_witnesses(pair: tuple[Machine, Machine]) -> None:
    ada, bo = pair
    for path in (ada.path, ada.folder):
        assert "self-consistent, unwitnessed: 7 entries" in tapestry("verify", path)[0]
    text = tapestry("verify", ada.path, "--witness", bo.folder)[0]
    assert text.startswith("witnessed: 7 entries") and "unwitnessed tail: 2 entries" in text
    file = bo.folder / "witness" / f"{ADA.peer_id}.jsonl"
    document = json.loads(tapestry("verify", ada.path, "--witness", file, "--json")[0])
    assert (document["peer"], document["witnessed_entries"], document["unwitnessed_entries"]) == (ADA.peer_id, 5, 2)
    assert document["faults"] == [] and document["witnesses"] == [str(file)]


def test_verify_says_what_is_wrong_in_one_line_and_exits_1(pair: tuple[Machine, Machine]) -> None:
    ada, _ = pair
    lines = ada.lines
    ada.rewrite([*lines[:2], *lines[3:]])
    out, cause = tapestry("verify", ada.path, code=1)
    assert not out and "line 3: entries 2 to 2 are missing" in cause
    document = json.loads(tapestry("verify", ada.path, "--json", code=1)[0])
    assert document["verdict"] == "refuted" and document["faults"]


def test_reconcile_names_the_difference_and_refuses_a_contradiction(pair: tuple[Machine, Machine]) -> None:
    ada, bo = pair
    text = tapestry("reconcile", ada.folder, bo.folder)[0]
    assert "4 frames" in text and "sent and not countersigned: 1 frames" in text
    document = json.loads(tapestry("reconcile", ada.path, bo.path, "--json")[0])
    assert document["agrees"] is False and document["directions"][0]["sent_only_entries"] == [4]
    bo.countersign(ADA.peer_id, [b"off the record"])
    out, cause = tapestry("reconcile", ada.folder, bo.folder, code=1)
    assert not out and "does not have" in cause


@pytest.mark.parametrize("tier", ["public", "consortium", "private"])
def test_an_export_verifies_where_nothing_else_lies(pair: tuple[Machine, Machine], tmp_path: Path, tier: str) -> None:
    ada, _ = pair
    out = tmp_path / "elsewhere" / "export.jsonl"
    out.parent.mkdir()
    document = json.loads(tapestry("export", ada.folder, "--tier", tier, "--out", out, "--json")[0])
    assert (document["exported"], document["size"], document["tier"]) == (5, 5, tier)
    assert "verified against the signed head: 5 of 5 entries" in tapestry("verify", out)[0]
    out.write_bytes(out.read_bytes().replace(b'"bytes":2', b'"bytes":3'))
    assert "not the ones the head was signed over" in tapestry("verify", out, code=1)[1]


def test_what_is_typed_wrongly_exits_2(pair: tuple[Machine, Machine], tmp_path: Path) -> None:
    ada, bo = pair
    for words in (
        ("verify", tmp_path / "none"),
        ("verify", bo.folder / "witness"),
        ("verify", ada.path, "--witness", tmp_path / "none"),
        ("verify", ada.path, "--peer", "x"),
        ("reconcile", ada.path, tmp_path / "none"),
        ("export", ada.path, "--out", ada.path),
        ("export", ada.path, "--out", tmp_path / "new", "--tier", "secret"),
        ("export", ada.path, "--out", tmp_path / "new", "--kind", "gossip"),
        ("export", ada.path),
    ):
        tapestry(*words, code=2)
    (ada.folder / "heads.jsonl").unlink()
    tapestry("export", ada.path, "--out", tmp_path / "new", code=1)
    assert not (tmp_path / "new").exists()


def test_help_names_every_command() -> None:
    text = tapestry("--help")[0]
    assert all(word in text for word in ("verify", "reconcile", "export"))


def test_an_unreadable_witness_is_said(pair: tuple[Machine, Machine], tmp_path: Path) -> None:
    ada, _ = pair
    (tmp_path / "folder.jsonl").mkdir()
    tapestry("verify", ada.path, "--witness", tmp_path / "folder.jsonl")
    empty = tmp_path / "empty.jsonl"
    statements.replace(empty, [])
    assert "no witness holds a head of this peer" in tapestry("verify", ada.path, "--witness", empty)[0]


def test_a_data_set_is_withdrawn_whatever_the_first_expiry_was(tmp_path: Path) -> None:
    """An amendment may have moved it, and what is in the Shared Base stays in it past any."""
    charter = changed(make_charter(3, elements=600), run={"expires": CREATED_S + 10**6})
    make_state(tmp_path / "state", rounds=2, charter=charter)
    found = json.loads(tapestry("withdraw", "manuals", "--state", tmp_path / "state", "--json")[0])
    assert found["rounds"] == [1, 2] and found["last_clean"]["round"] == 0
