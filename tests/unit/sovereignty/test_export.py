"""Exports by visibility tier: what each reveals, that history does not change, and that each verifies by itself."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.errors import StateError
from swarm.sovereignty.audit import audit
from swarm.sovereignty.entry import Tier
from swarm.sovereignty.export import check_export, is_export, write_export
from swarm.sovereignty.permit import Kind
from tests.unit.sovereignty.ledgers import ADA, BO, CY, Machine, forge

SIGNED = 10
ALL: frozenset[Kind] = frozenset()


@pytest.fixture
def ada(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "ada", ADA)
    machine.send(BO.peer_id, SIGNED)
    machine.sign()
    machine.send(CY.peer_id, 3)
    return machine


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("kinds", [ALL, frozenset({Kind.UPDATE})])
def test_an_export_reveals_its_tier_and_verifies_against_the_head(
    ada: Machine, tmp_path: Path, tier: Tier, kinds: frozenset[Kind]
) -> None:
    before, out = ada.path.read_bytes(), tmp_path / "out.jsonl"
    head, count = write_export(ada.path, out, tier, kinds)
    assert ada.path.read_bytes() == before and audit(ada.path, (), None).root != head.root
    found = check_export(out, ADA.peer_id)
    assert is_export(out) and not is_export(ada.path)
    assert (found.faults, found.entries, found.size, found.root) == ((), count, SIGNED, head.root)
    assert count == (3 if kinds else SIGNED)
    text = out.read_text()
    said = [json.loads(line) for line in ada.lines[:SIGNED]]
    assert all((entry["permit"] in text) == (tier is not Tier.PUBLIC) for entry in said[1::3])
    assert (BO.peer_id in text) == (tier is not Tier.PUBLIC)
    assert all((entry["digest"] in text) == (tier is Tier.PRIVATE) for entry in said[1::3])
    assert all(entry["salts"][:40] not in text or tier is not Tier.PUBLIC for entry in said)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_number_or_name_in_an_export_can_be_changed(tmp_path: Path, data: st.DataObject) -> None:
    out = tmp_path / "out.jsonl"
    if not out.exists():
        machine = Machine(tmp_path / "ada", ADA)
        machine.send(BO.peer_id, SIGNED)
        machine.sign()
        write_export(machine.path, out, Tier.PRIVATE, ALL)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    entry = lines[data.draw(st.integers(1, SIGNED))]
    part = data.draw(st.sampled_from(["n", "event", "consortium", "private"]))
    if part == "n":
        entry["n"] += 1
    else:
        name = data.draw(st.sampled_from(sorted(entry[part])))
        value = entry[part][name]
        changed = value + 1 if isinstance(value, int | float) else ("result" if name == "kind" else value[::-1])
        if changed == value:
            return
        entry[part][name] = changed
    bent = tmp_path / "bent.jsonl"
    bent.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert check_export(bent, None).verdict == "refuted"


def test_entries_cannot_be_left_out_of_a_whole_export(ada: Machine, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    write_export(ada.path, out, Tier.PUBLIC, ALL)
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join([*lines[:3], *lines[4:]]))
    assert "not the ones the head was signed over" in check_export(out, None).faults[0]


def test_a_selection_stands_by_its_proofs(ada: Machine, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    write_export(ada.path, out, Tier.PUBLIC, frozenset({Kind.UPDATE}))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    lines[1]["proof"] = lines[2]["proof"]
    out.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert check_export(out, None).faults == ("entry 1 is not under the head",)


def test_another_history_a_missing_head_and_a_wrong_signer_are_refused(ada: Machine, tmp_path: Path) -> None:
    write_export(ada.path, tmp_path / "good.jsonl", Tier.PUBLIC, ALL)
    assert "wrong signer" in check_export(tmp_path / "good.jsonl", BO.peer_id).faults[0]
    forge(ada, SIGNED, changed=2)
    with pytest.raises(StateError, match="not the one its newest head was signed over"):
        write_export(ada.path, tmp_path / "a.jsonl", Tier.PUBLIC, ALL)
    (ada.folder / "heads.jsonl").unlink()
    with pytest.raises(StateError, match="no signed head lies beside"):
        write_export(ada.path, tmp_path / "b.jsonl", Tier.PUBLIC, ALL)
    for noise in (b'{"export":', b'{"export":1}\n', b'{"export":1,"tier":"public","head":3}\n'):
        (tmp_path / "noise").write_bytes(noise)
        with pytest.raises(StateError, match="is not an export"):
            check_export(tmp_path / "noise", None)
