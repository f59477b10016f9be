"""Amending and revoking as members type it, from an edited charter to documents that peers follow."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from peers.cli.app import app
from swarm.charter import files
from swarm.charter.signing import SignedCharter, sign_charter
from swarm.clock import unix_s
from tests.governing import changed
from tests.simulation import MEMBER_KEYS, peer_identity
from tests.unit.state.samples import small_charter

MEMBERS = MEMBER_KEYS[:3]
PEER = peer_identity(1).peer_id
DAY_S = 86_400


def tapestry(*words: object, code: int = 0) -> str:
    """Runs a command; what it printed, or the cause it failed with."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    if code:
        assert result.stderr.startswith("tapestry: ") and result.stderr.count("\n") == 1
    return result.stderr if code else result.stdout


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A signed charter of three members that is not over yet, an edited copy of it, and keys."""
    now_s = int(unix_s())
    charter = changed(
        small_charter(), members=small_charter().members[:3], run={"created": now_s - 10, "expires": now_s + DAY_S}
    )
    files.write(tmp_path / "charter.toml", sign_charter(SignedCharter(charter=charter), MEMBER_KEYS[0]))
    edited = changed(charter, run={"expires": now_s + 9 * DAY_S})
    files.write(tmp_path / "edited.toml", SignedCharter(charter=edited))
    for number in range(4):
        MEMBER_KEYS[number].save(tmp_path / f"{number}.key")
    return tmp_path


def test_from_an_edited_charter_to_an_epoch_and_on_to_the_next(place: Path) -> None:
    rules, out = ("--charter", place / "charter.toml"), place / "first.json"
    new = ("charter", "amend", "new", out, *rules, "--to", place / "edited.toml")
    made = json.loads(tapestry(*new, "--reason", "a longer run", "--from-round", 4, "--json"))
    assert (made["epoch"], made["from_round"], made["threshold"], made["signatures"]) == (1, 4, 3, 0)
    for number in range(3):
        assert "has " in tapestry("charter", "amend", "verify", out, *rules, code=1)
        tapestry("charter", "amend", "sign", out, *rules, "--identity", place / f"{number}.key")
    assert json.loads(tapestry("charter", "amend", "verify", out, *rules, "--json"))["signatures"] == 3
    assert "not the key" in tapestry("charter", "amend", "sign", out, *rules, "--identity", place / "3.key", code=1)
    assert "exists already" in tapestry(*new, "--reason", "again", code=2)

    held = ("--documents", out)
    shown = json.loads(tapestry("charter", "show", place / "charter.toml", *held, "--json"))
    assert shown["epoch"] == 1 and shown["epoch_digest"] == made["digest"]
    assert shown["charter"]["run"]["expires"] > unix_s() + 8 * DAY_S
    assert "epoch 1" in tapestry("charter", "show", place / "charter.toml", *held)
    second = place / "second.json"
    next_one = ("charter", "amend", "new", second, *rules, "--to", place / "edited.toml", "--reason", "next")
    assert json.loads(tapestry(*next_one, *held, "--json"))["epoch"] == 2
    assert "those between are missing" in tapestry("charter", "amend", "verify", second, *rules, code=1)


def test_withdrawing_a_passport_a_peer_and_a_member(place: Path) -> None:
    rules, passport = ("--charter", place / "charter.toml"), place / "passport.json"
    issue = ("passport", "issue", passport, *rules, "--identity", place / "1.key", "--peer", PEER)
    tapestry(*issue, "--jurisdiction", "DE")
    why = ("--reason", "the machine was stolen")
    for name, scope in (("one", ("--passport", passport)), ("peer", ("--peer", PEER))):
        out = place / f"{name}.json"
        made = ("passport", "revoke", out, *rules, "--identity", place / "1.key", *scope, *why)
        assert json.loads(tapestry(*made, "--json"))["threshold"] == 1
        assert "it is revoked" in tapestry("passport", "verify", passport, *rules, "--documents", out, code=1)
    tapestry("passport", "verify", passport, *rules)

    out, member = place / "member.json", ("--member", MEMBERS[1].peer_id)
    by = ("passport", "revoke", out, *rules, "--identity")
    tapestry(*by, place / "0.key", *member, *why)
    assert "of 3 members" in tapestry("passport", "verify", passport, *rules, "--documents", out, code=1)
    assert "exists" in tapestry(*by, place / "2.key", *member, code=2)
    tapestry(*by, place / "2.key")
    assert "3 valid signatures" in tapestry(*by, place / "1.key")
    assert "it is revoked" in tapestry("passport", "verify", passport, *rules, "--documents", out, code=1)
    shown = json.loads(tapestry("charter", "show", place / "charter.toml", "--documents", out, "--json"))
    assert shown["epoch"] == 0 and len(shown["revocations"]) == 1 and len(shown["revocation_list"]) == 64


def test_what_a_person_may_get_wrong(place: Path) -> None:
    rules, out = ("--charter", place / "charter.toml"), place / "out.json"
    new = ("charter", "amend", "new", out, *rules, "--reason", "x")
    assert "--to" in tapestry(*new, "--to", place / "none.toml", code=2)
    bent = changed(files.read(place / "charter.toml").charter, model={"parameters": 5})
    files.write(place / "bent.toml", SignedCharter(charter=bent))
    assert "changes model" in tapestry(*new, "--to", place / "bent.toml", code=1)
    assert "does not exist" in tapestry(*new, "--to", place / "edited.toml", "--documents", place / "no", code=2)
    revoke = ("passport", "revoke", out, *rules, "--identity", place / "1.key")
    assert "say what" in tapestry(*revoke, "--reason", "x", code=2)
    assert "reason" in tapestry(*revoke, "--peer", PEER, code=1)
    foreign = ("passport", "revoke", out, *rules, "--identity", place / "3.key", "--peer", PEER, "--reason", "x")
    assert "not the key of a member" in tapestry(*foreign, code=1)
    assert not out.exists()
