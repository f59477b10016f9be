"""The document commands as a person types them: what they print, what they refuse, and how they exit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from peers.cli.app import app
from swarm.charter import files
from swarm.charter.signing import SignedCharter, run_id
from swarm.clock import unix_s
from swarm.identity.key import Identity
from tests.unit.charter import samples

EXPIRED = samples.charter()


def _tapestry(*words: object, code: int = 0) -> tuple[str, str]:
    """Runs a command; its stdout and stderr. A failure must be one line on stderr and nothing on stdout."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    if code:
        assert result.stderr.startswith("tapestry: ") and result.stderr.count("\n") == 1
        assert result.stdout == ""
    return result.stdout, result.stderr


def _json(*words: object) -> dict[str, object]:
    return json.loads(_tapestry(*words, "--json")[0])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with an unsigned charter valid from now on, and the key files of its people."""
    from msgspec.structs import replace

    created = int(unix_s())
    run = replace(EXPIRED.run, created=created, expires=created + 86_400)
    files.write(tmp_path / "charter.toml", SignedCharter(charter=replace(EXPIRED, run=run)))
    files.write(tmp_path / "expired.toml", samples.signed_charter(EXPIRED, *samples.FOUNDERS))
    people = {"ada": samples.ADA, "peer": samples.PEERS[0], "stranger": samples.STRANGER}
    for name, person in {**people, "f1": samples.FOUNDERS[0], "f2": samples.FOUNDERS[1]}.items():
        person.save(tmp_path / f"{name}.key")
    return tmp_path


@pytest.fixture
def signed(place: Path) -> Path:
    """The same folder with the charter signed by two founders."""
    for founder in ("f1", "f2"):
        _tapestry("charter", "sign", place / "charter.toml", "--identity", place / f"{founder}.key")
    return place


def test_a_new_key_prints_its_peer_id(tmp_path: Path) -> None:
    printed = _tapestry("keys", "new", tmp_path / "key")[0].strip()
    assert printed == Identity.load(tmp_path / "key").peer_id
    assert _json("keys", "show", tmp_path / "key") == {"peer_id": printed, "file": str(tmp_path / "key")}


def test_key_mistakes(tmp_path: Path) -> None:
    _tapestry("keys", "new", tmp_path / "key")
    assert "exists already" in _tapestry("keys", "new", tmp_path / "key", code=1)[1]
    assert "does not exist" in _tapestry("keys", "new", tmp_path / "nowhere" / "key", code=2)[1]
    assert "does not exist" in _tapestry("keys", "show", tmp_path / "other", code=2)[1]
    (tmp_path / "key").chmod(0o644)
    assert "chmod 600" in _tapestry("keys", "show", tmp_path / "key", code=1)[1]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("weave",),
        ("keys",),
        ("keys", "new"),
        ("keys", "new", "a", "b"),
        ("--weave",),
        ("keys", "new", "a", "--weave"),
    ],
)
def test_wrong_syntax_is_one_line_and_exit_2(words: tuple[str, ...]) -> None:
    assert "--help" in _tapestry(*words, code=2)[1]


def test_founders_sign_until_there_are_enough(place: Path) -> None:
    charter = place / "charter.toml"
    assert "has 0" in _tapestry("charter", "verify", charter, code=1)[1]
    assert _json("charter", "sign", charter, "--identity", place / "f1.key")["signatures"] == 1
    assert "has 1" in _tapestry("charter", "verify", charter, code=1)[1]
    assert "not one of" in _tapestry("charter", "sign", charter, "--identity", place / "stranger.key", code=1)[1]
    _tapestry("charter", "sign", charter, "--identity", place / "f2.key")
    assert _tapestry("charter", "verify", charter)[0].strip() == run_id(files.read(charter).charter)
    document = _json("charter", "verify", charter)
    assert (document["valid"], document["signatures"], document["threshold"]) == (True, 2, 2)


def test_a_tampered_or_expired_charter_exits_1(signed: Path) -> None:
    text = (signed / "charter.toml").read_text()
    (signed / "tampered.toml").write_text(text.replace("inner_steps = 10", "inner_steps = 11"))
    assert "has 0" in _tapestry("charter", "verify", signed / "tampered.toml", code=1)[1]
    assert "expired" in _tapestry("charter", "verify", signed / "expired.toml", code=1)[1]
    assert "does not exist" in _tapestry("charter", "verify", signed / "no.toml", code=2)[1]


def test_a_strangers_control_characters_never_reach_the_terminal(place: Path) -> None:
    (place / "rude.toml").write_text('"\\u001b[31mred" = 1\n' + (place / "charter.toml").read_text())
    assert "\x1b" not in _tapestry("charter", "verify", place / "rude.toml", code=1)[1]


def test_show_says_what_a_reader_may_not_expect(signed: Path) -> None:
    text = _tapestry("charter", "show", signed / "charter.toml")[0]
    assert "single updates may cross borders" in text
    assert "Note: single_update_may_cross is set" in text
    for expected in ("spring", "DE, FR", samples.ADA.peer_id, "2 valid, 2 needed"):
        assert expected in text
    document = _json("charter", "show", signed / "expired.toml")
    assert (document["valid"], document["cause"]) == (False, "the charter of run spring has expired")
    assert document["warnings"]


def _issue(place: Path, *more: object, code: int = 0, **changes: object) -> tuple[str, str]:
    options = {"charter": "charter.toml", "identity": "ada.key"}
    options |= {key: str(value) for key, value in changes.items() if key in options}
    jurisdiction = changes.get("jurisdiction", "DE")
    peer = changes.get("peer", samples.PEERS[0].peer_id)
    return _tapestry(
        *("passport", "issue", place / "peer.passport", "--charter", place / options["charter"]),
        *("--identity", place / options["identity"], "--peer", peer, "--jurisdiction", jurisdiction),
        *more,
        code=code,
    )


def test_a_member_admits_a_peer(signed: Path) -> None:
    issued = json.loads(_issue(signed, "--json")[0])
    verified = _json("passport", "verify", signed / "peer.passport", "--charter", signed / "charter.toml")
    assert verified["digest"] == issued["digest"]
    assert (verified["member"], verified["region"], verified["valid"]) == ("Ada", "eu", True)
    assert (
        "valid: " in _tapestry("passport", "verify", signed / "peer.passport", "--charter", signed / "charter.toml")[0]
    )


def test_passport_mistakes(signed: Path) -> None:
    assert "not the key of a member" in _issue(signed, code=1, identity="stranger.key")[1]
    assert "no region" in _issue(signed, code=1, jurisdiction="US")[1]
    assert "two-letter" in _issue(signed, code=2, jurisdiction="Germany")[1]
    assert "--peer" in _issue(signed, code=2, peer="QmNobody")[1]
    assert "expired" in _issue(signed, code=1, charter="expired.toml")[1]
    assert not (signed / "peer.passport").exists()
    _issue(signed)
    assert "exists already" in _issue(signed, code=2)[1]


def test_a_tampered_passport_exits_1(signed: Path) -> None:
    _issue(signed)
    path = signed / "peer.passport"
    path.write_bytes(path.read_bytes().replace(b'"DE"', b'"FR"'))
    message = _tapestry("passport", "verify", path, "--charter", signed / "charter.toml", code=1)[1]
    assert "bad_signature" in message
    path.write_bytes(b"{}")
    _tapestry("passport", "verify", path, "--charter", signed / "charter.toml", code=1)


def test_help_loads_nothing_slow() -> None:
    script = (
        "import sys; sys.argv = ['tapestry', '--help']\n"
        "from peers.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "slow = {'torch', 'numpy', 'hivemind', 'transformers', 'matplotlib'} & set(sys.modules)\n"
        "assert not slow, slow\n"
    )
    environment = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "charter" in done.stdout


def _new_words(place: Path) -> list[str]:
    (place / "model.json").write_text('{"model_type": "llama"}')
    words = [
        "charter",
        "new",
        str(place / "run.toml"),
        "--name",
        "spring",
        "--config",
        str(place / "model.json"),
    ]
    words += ["--region", "eu=DE,FR", "--member", f"Ada={samples.ADA.peer_id}"]
    return [*words, "--founder", samples.FOUNDERS[0].peer_id, "--genesis", samples.PEERS[0].peer_id]


@pytest.mark.parametrize(
    ("more", "code", "cause"),
    [
        (["--member", "Bo"], 2, "--member"),
        (["--member", "Bo=QmBo"], 2, "--member"),
        (["--witness", "nobody"], 2, "--witness"),
        (["--adopt", "base.safetensors"], 2, "either --config or --adopt"),
        (["--mode", "federated"], 2, "federated"),
        (["--inner-steps", "ten"], 2, "--inner-steps"),
        (["--inner-steps", "0"], 2, "--inner-steps"),
        (["--region", "asia=DE"], 1, "jurisdiction DE"),
        (["--cap-percent", "50"], 1, "below 100 %"),
        (["--threshold", "2"], 1, "founders.threshold"),
        (["--outer-lr", "nan"], 1, "outer.lr"),
        (["--genesis", samples.ADA.peer_id], 1, "runs no peer"),
        (["--chunk-elements", "1000"], 1, "chunk_elements"),
    ],
)
def test_a_charter_that_cannot_be_is_not_written(tmp_path: Path, more: list[str], code: int, cause: str) -> None:
    assert cause in _tapestry(*_new_words(tmp_path), *more, code=code)[1]
    assert sorted(os.listdir(tmp_path)) == ["model.json"]


def test_a_config_that_is_missing_or_no_json(tmp_path: Path) -> None:
    words = _new_words(tmp_path)
    (tmp_path / "model.json").write_text("{")
    assert "not JSON" in _tapestry(*words, code=1)[1]
    (tmp_path / "model.json").unlink()
    assert "does not exist" in _tapestry(*words, code=2)[1]


def test_nothing_is_overwritten_by_a_new_charter(tmp_path: Path) -> None:
    words = _new_words(tmp_path)
    (tmp_path / "run.state0.safetensors").write_text("precious")
    assert "exists already" in _tapestry(*words, code=2)[1]
    assert (tmp_path / "run.state0.safetensors").read_text() == "precious"


def test_ctrl_c_exits_130_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> Identity:
        raise KeyboardInterrupt

    monkeypatch.setattr(Identity, "generate", interrupt)
    assert _tapestry("keys", "new", tmp_path / "key", code=1)[1] == "tapestry: interrupted\n"
