"""What an auditor finds in a ledger alone, what only witnesses show, and what neither can."""

import hashlib
import json
from pathlib import Path

import msgspec
import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.errors import StateError
from swarm.sovereignty import statements
from swarm.sovereignty.audit import audit
from swarm.sovereignty.entry import Event, ForConsortium, commitment, decode_line, event_of, to_the_millisecond
from swarm.sovereignty.heads import OwnHeads
from swarm.sovereignty.ledger import Ledger
from swarm.sovereignty.permit import Kind
from swarm.sovereignty.signed import Signed, TreeHead
from tests.unit.sovereignty.ledgers import ADA, BO, CY, RUN_ID, Machine, forge

ENTRIES = 12


@pytest.fixture
def ada(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "ada", ADA)
    machine.send(BO.peer_id, 7)
    machine.sign(1)
    machine.send("directory", 5)
    return machine


def alone(machine: Machine, *witnesses: Path) -> tuple[str, str]:
    found = audit(machine.path, witnesses, None)
    return found.verdict, "; ".join(found.faults)


def test_the_event_in_a_leaf_is_canonical_json(ada: Machine) -> None:
    for line in ada.lines:
        event = event_of(decode_line(line))
        assert msgspec.json.encode(event) == rfc8785.dumps(msgspec.to_builtins(event))
        said = json.loads(line)
        hidden = json.dumps(msgspec.to_builtins(event))
        assert said["digest"] not in hidden and said["peer"] not in hidden and said["permit"] not in hidden


@given(at=st.integers(0, 2**41), size=st.integers(0, 2**53 - 1), peer=st.text(max_size=20), permit=st.text(max_size=20))
def test_canonical_whatever_is_in_it(at: int, size: int, peer: str, permit: str) -> None:
    event = Event(to_the_millisecond(at / 1000), size, "a" * 64, Kind.UPDATE, "b" * 64)
    assert msgspec.json.encode(event) == rfc8785.dumps(msgspec.to_builtins(event))
    fields = {"peer": peer, "permit": permit}
    salt = bytes(range(32))
    assert commitment(salt, ForConsortium(**fields)) == hashlib.sha256(salt + rfc8785.dumps(fields)).hexdigest()


def test_a_whole_ledger_is_self_consistent_and_unwitnessed(ada: Machine) -> None:
    found = audit(ada.path, (), None)
    assert (found.verdict, found.faults, found.entries) == ("self-consistent, unwitnessed", (), ENTRIES)
    assert (found.peer, found.own_heads, found.unwitnessed_entries) == (ADA.peer_id, 1, ENTRIES)
    assert found.notes == ("entries from 7 on are under no head of its own yet",)
    assert "self-consistent, unwitnessed" in found.text
    assert sum(found.bytes.values()) == sum(json.loads(line)["bytes"] for line in ada.lines)


EDITS = {
    "bytes": lambda line: line.replace(b'"bytes":', b'"bytes":1'),
    "kind": lambda line: line.replace(b'"kind":"', b'"kind":"x'),
    "peer": lambda line: line.replace(b'"peer":"', b'"peer":"x'),
    "time": lambda line: line.replace(b'"at":1', b'"at":2'),
    "more": lambda line: line.replace(b'"n":', b'"extra":1,"n":'),
    "space": lambda line: line.replace(b'"n":', b'"n": '),
    "check": lambda line: line.replace(b'"check":', b'"check":1'),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("number", [0, 3, 6, 8, ENTRIES - 1])
def test_an_edit_is_found_at_its_line(ada: Machine, edit: str, number: int) -> None:
    lines = ada.lines
    lines[number] = EDITS[edit](lines[number])
    ada.rewrite(lines)
    verdict, cause = alone(ada)
    assert verdict == "refuted" and f"line {number + 1}" in cause


@pytest.mark.parametrize("has_heads", [True, False])
def test_what_is_deleted_inserted_or_reordered_is_found(ada: Machine, has_heads: bool) -> None:
    if not has_heads:
        (ada.folder / "heads.jsonl").unlink()
    whole = ada.lines
    for lines, cause in (
        (whole[:4] + whole[5:], "line 5: entries 4 to 4 are missing"),
        (whole[2:], "line 1: entries 0 to 1 are missing"),
        (whole[:4] + whole[9:], "line 5: entries 4 to 8 are missing"),
        ([*whole[:4], whole[3], *whole[4:]], "line 5: entry 3 stands where entry 4 should"),
        ([*whole[:4], whole[5], whole[4], *whole[6:]], "line 5: entries 4 to 4 are missing"),
        ([*whole[:4], b'{"a":1}\n', *whole[4:]], "line 5: not as a ledger writes its lines"),
    ):
        ada.rewrite(lines)
        verdict, found = alone(ada)
        assert verdict == "refuted" and cause in found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_byte_can_be_changed_unnoticed(tmp_path: Path, data: st.DataObject) -> None:
    """Torn lines are the one thing that may be added: they claim nothing."""
    folder = tmp_path / "ada"
    if not folder.exists():
        machine = Machine(folder, ADA)
        machine.send(BO.peer_id, 4)
        machine.sign()
        (folder / "whole").write_bytes(machine.path.read_bytes())
    whole = (folder / "whole").read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != whole[at]))
    path = folder / "ledger.jsonl"
    path.write_bytes(whole[:at] + bytes([byte]) + whole[at + 1 :])
    is_last_newline = at == len(whole) - 1
    assert is_last_newline or audit(path, (), None).verdict == "refuted"


def test_truncation_below_its_own_head_is_found_without_witnesses(ada: Machine) -> None:
    ada.rewrite(ada.lines[:6])
    assert "truncated" in alone(ada)[1]


def test_the_tail_can_be_cut_where_no_head_binds_it(ada: Machine) -> None:
    ada.rewrite(ada.lines[:9])
    assert alone(ada) == ("self-consistent, unwitnessed", "")


def test_a_torn_line_is_named_and_is_no_fault(ada: Machine) -> None:
    lines = ada.lines
    lines.insert(8, lines[8][:40] + b"\n")
    ada.rewrite(lines)
    found = audit(ada.path, (), None)
    assert (found.torn_lines, found.faults, found.entries) == (1, (), ENTRIES)


def test_a_consistent_rewrite_is_found_by_its_own_head_and_without_it_by_a_witness(
    ada: Machine, tmp_path: Path
) -> None:
    bo = Machine(tmp_path / "bo", BO)
    for signed in statements.read(ada.folder / "heads.jsonl"):
        bo.witness(signed)
    forge(ada, ENTRIES, changed=2)
    assert "its own head" in alone(ada)[1] and "rewritten" in alone(ada)[1]
    (ada.folder / "heads.jsonl").unlink()
    ada.sign(2)
    assert alone(ada) == ("self-consistent, unwitnessed", "")
    verdict, cause = alone(ada, bo.folder)
    assert verdict == "refuted" and "a witnessed head" in cause and "the first 7 entries: rewritten" in cause


def test_witnesses_name_the_tail_that_nobody_saw(ada: Machine, tmp_path: Path) -> None:
    bo, cy = Machine(tmp_path / "bo", BO), Machine(tmp_path / "cy", CY)
    (early,) = statements.read(ada.folder / "heads.jsonl")
    bo.witness(early)
    ada.send(CY.peer_id, 3)
    late = ada.sign(2)
    ada.send(CY.peer_id, 2)
    found = audit(ada.path, [bo.folder], None)
    assert (found.verdict, found.witnessed_entries, found.unwitnessed_entries) == ("witnessed", 7, ENTRIES - 7 + 5)
    cy.witness(late)
    found = audit(ada.path, [bo.folder, cy.folder / "witness"], None)
    assert (found.witnessed_entries, found.unwitnessed_entries, len(found.witnesses)) == (ENTRIES + 3, 2, 2)
    assert "unwitnessed tail: 2 entries" in found.text


def test_a_ledger_shorter_than_a_witnessed_head_was_truncated(ada: Machine, tmp_path: Path) -> None:
    bo = Machine(tmp_path / "bo", BO)
    bo.witness(ada.sign(2))
    (ada.folder / "heads.jsonl").unlink()
    ada.rewrite(ada.lines[:8])
    found = audit(ada.path, [bo.folder], ADA.peer_id)
    assert found.verdict == "refuted" and "over 12 entries, the ledger has 8: truncated" in found.faults[0]


def test_two_heads_of_one_length_are_a_fork_whatever_the_ledger_says(ada: Machine, tmp_path: Path) -> None:
    bo, cy = Machine(tmp_path / "bo", BO), Machine(tmp_path / "cy", CY)
    bo.witness(ada.sign(2))
    twin = Machine(tmp_path / "twin", ADA)
    forge_from = twin.send(CY.peer_id, ENTRIES)
    assert len(forge_from) == ENTRIES
    cy.witness(twin.sign(2))
    found = audit(ada.path, [bo.folder, cy.folder], None)
    assert any(fault.startswith("forked:") for fault in found.faults)


def test_a_head_by_somebody_else_is_a_wrong_signer(ada: Machine) -> None:
    (good,) = statements.read(ada.folder / "heads.jsonl")
    head = TreeHead.read(good)
    statements.replace(ada.folder / "heads.jsonl", [head.sign(CY), good])
    assert "wrong signer" in alone(ada)[1]
    assert "wrong signer" in "".join(audit(ada.path, (), BO.peer_id).faults)


def test_heads_without_their_authors_signature_count_for_nothing(ada: Machine, tmp_path: Path) -> None:
    (good,) = statements.read(ada.folder / "heads.jsonl")
    lie = TreeHead(RUN_ID, 7, bytes(32), 1, 0.0)
    forged = Signed(ADA.peer_id, lie.sign(CY).payload, lie.sign(CY).signature)
    file = tmp_path / "forged.jsonl"
    statements.append(file, [forged])
    found = audit(ada.path, [file], None)
    assert found.verdict == "self-consistent, unwitnessed" and not found.faults
    assert any("do not carry their author's signature" in note for note in found.notes)
    statements.append(file, [good])
    assert audit(ada.path, [file], None).verdict == "witnessed"


def test_who_it_belongs_to_is_said_by_heads_folder_or_user(ada: Machine, tmp_path: Path) -> None:
    bo = Machine(tmp_path / "bo", BO)
    (head,) = statements.read(ada.folder / "heads.jsonl")
    bo.witness(head)
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(ada.path.read_bytes())
    assert audit(copy, (), None).peer is None
    with pytest.raises(StateError, match="give --peer"):
        audit(copy, [bo.folder], None)
    assert audit(copy, [bo.folder], ADA.peer_id).verdict == "witnessed"
    named = tmp_path / ADA.peer_id / "ledger.jsonl"
    named.parent.mkdir()
    named.write_bytes(ada.path.read_bytes())
    assert audit(named, [bo.folder], None).witnessed_entries == 7


def test_a_ledger_that_is_not_the_signed_one_is_never_signed_again(ada: Machine) -> None:
    forge(ada, ENTRIES, changed=2)
    with Ledger(ada.path, lambda: 0.0) as ledger, pytest.raises(StateError, match="is not the one whose first 7"):
        OwnHeads(ada.folder, ADA, RUN_ID, ledger)


@given(noise=st.binary(max_size=120))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_can_be_audited(tmp_path: Path, noise: bytes) -> None:
    path, heads = tmp_path / "ledger.jsonl", tmp_path / "heads.jsonl"
    path.write_bytes(noise)
    heads.write_bytes(noise)
    assert audit(path, [heads], ADA.peer_id).entries == 0
