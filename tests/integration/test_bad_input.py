"""What a person may get wrong, really typed: one line on stderr, the right exit code, nothing overwritten."""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from swarm.charter import files
from swarm.charter.signing import SignedCharter
from swarm.clock import unix_s
from swarm.identity.key import Identity
from tests.integration.conftest import LOOPBACK, Bootstrap
from tests.integration.papers import MODEL, Papers, write_data
from tests.integration.processes import ENVIRONMENT, Running, tapestry, wait_for

NOBODY = "12D3KooWGRUVh6ZEBGRKcqDWYFX2bmMjxDjwCjYyLYRpFvQSm3rR"
WRONG_USAGE, FAILED = 2, 1


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, the append-only logs and what is derived from them left out."""
    logs = (".jsonl", ".tree")
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix not in logs and path.name != "lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def refused(code: int, *words: object) -> str:
    """The cause a command gives: the last line, and the only one that begins with "tapestry: "."""
    done = tapestry(*words)
    lines = done.stderr.splitlines()
    assert done.returncode == code, (done.returncode, done.stderr)
    assert [line.startswith("tapestry: ") for line in lines] == [False] * (len(lines) - 1) + [True], done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    return lines[-1]


def refused_at_once(code: int, *words: object) -> str:
    """The same for what is noticed before anything is started: nothing else is printed at all."""
    done = tapestry(*words)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (code, "", 1), done.stderr
    assert done.stderr.startswith("tapestry: ")
    return done.stderr


@pytest.fixture
def join(bootstrap: Bootstrap) -> str:
    return bootstrap.start()


@pytest.fixture
def peer_words(papers: Papers, join: str, tmp_path: Path) -> dict[str, object]:
    """A command line that would work."""
    ada = papers.of("ada")
    return {
        "--join": join,
        "--data": ada.data,
        "--identity": ada.identity,
        "--passport": ada.passport,
        "--state": tmp_path / "state",
        "--listen": LOOPBACK,
    }


def peer(words: dict[str, object], **changes: object) -> list[object]:
    """The command line with some options changed; None leaves one out."""
    changed = words | {f"--{key.replace('_', '-')}": value for key, value in changes.items()}
    return ["peer", *(part for option, value in changed.items() if value is not None for part in (option, value))]


# --- what is noticed before anything is started -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"join": "not-a-multiaddr"}, "is not a multiaddr"),
        ({"join": "/ip4/127.0.0.1/tcp/1"}, "does not name the peer to join"),
        ({"join": "/ip4/127.0.0.1/tcp/1/p2p/QmNobody"}, "multiaddr"),
        ({"join": None}, "--join"),
        ({"listen": "/dns4/example.org/tcp/1"}, "cannot listen on"),
        ({"data": "nowhere"}, "data folder nowhere does not exist"),
        ({"policy": "nowhere.toml"}, "policy file nowhere.toml does not exist"),
        ({"identity": "nowhere.key"}, "nowhere.key does not exist"),
        ({"passport": "nowhere.json"}, "nowhere.json does not exist"),
        ({"max_rounds": 0}, "--max-rounds"),
        ({"max_rounds": "ten"}, "--max-rounds"),
        ({"weave": 1}, "--weave"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_usage_of_peer(peer_words: dict[str, object], changes: dict[str, object], cause: str) -> None:
    assert cause in refused_at_once(WRONG_USAGE, *peer(peer_words, **changes))
    assert not Path(str(peer_words["--state"])).exists()


def test_data_that_cannot_be_used(peer_words: dict[str, object], tmp_path: Path) -> None:
    assert "--data" in refused_at_once(FAILED, *peer(peer_words, data=None))
    folder = tmp_path / "data"
    folder.mkdir()
    assert "policy.toml" in refused_at_once(FAILED, *peer(peer_words, data=folder))
    folder.rmdir()
    write_data(folder, "x")
    (folder / "text.txt").rename(folder / "text.jsonl")
    assert "has no label" in refused_at_once(FAILED, *peer(peer_words, data=folder))
    (folder / "text.jsonl").unlink()
    assert "holds no data" in refused_at_once(FAILED, *peer(peer_words, data=folder))
    (folder / "policy.toml").write_text("version = 2\n")
    refused_at_once(FAILED, *peer(peer_words, data=folder))


def test_identity_files_that_cannot_be_used(peer_words: dict[str, object], tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"garbage")
    key.chmod(0o600)
    assert "not an Ed25519 key file" in refused_at_once(FAILED, *peer(peer_words, identity=key))
    assert key.read_bytes() == b"garbage"
    Identity.generate().save(tmp_path / "open.key")
    (tmp_path / "open.key").chmod(0o644)
    assert "chmod 600" in refused_at_once(FAILED, *peer(peer_words, identity=tmp_path / "open.key"))
    assert "is not a file" in refused_at_once(FAILED, *peer(peer_words, identity=tmp_path))
    assert not Path(str(peer_words["--state"])).exists()


@pytest.mark.parametrize("words", [("weave",), ("peer", "--weave"), ("bootstrap",), ("passport", "issue")])
def test_unknown_commands_and_options(words: tuple[str, ...]) -> None:
    assert "--help" in refused_at_once(WRONG_USAGE, *words)


# --- what the node notices --------------------------------------------------------------------------------------------


def test_addresses_where_nobody_is_or_somebody_else(peer_words: dict[str, object], join: str) -> None:
    dead = f"/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}"
    assert f"cannot reach {dead}" in refused(FAILED, *peer(peer_words, join=dead))
    somebody_else = join.rpartition("/")[0] + f"/{NOBODY}"
    assert "cannot reach" in refused(FAILED, *peer(peer_words, join=somebody_else))


def test_passports_that_the_run_refuses(peer_words: dict[str, object], papers: Papers, tmp_path: Path) -> None:
    day_s = 86_400.0
    assert "give --passport" in refused(FAILED, *peer(peer_words, passport=None))
    foreign = papers.passport("bo", tmp_path / "foreign")
    assert "wrong peer" in refused(FAILED, *peer(peer_words, passport=foreign))
    now_s = unix_s()
    expired = papers.passport("ada", tmp_path / "expired", now_s=now_s - 2 * day_s, expires_s=now_s - day_s)
    assert "expired" in refused(FAILED, *peer(peer_words, passport=expired))
    (tmp_path / "garbage").write_text("{}")
    assert "passport" in refused(FAILED, *peer(peer_words, passport=tmp_path / "garbage"))


def test_another_run_than_the_one_asked_for(peer_words: dict[str, object]) -> None:
    assert "you asked for" in refused(FAILED, *peer(peer_words, run_id="0" * 64))


def test_data_that_is_too_short_to_train_on(peer_words: dict[str, object], tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data", "x")
    (folder / "text.txt").write_text("short")
    cause = refused(FAILED, *peer(peer_words, data=folder))
    assert "text.txt has 5 bytes; a training sequence needs 33" in cause


def test_a_port_in_use(peer_words: dict[str, object], papers: Papers, bootstrap: Bootstrap, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
        assert f"cannot listen on {listen}" in refused(FAILED, *peer(peer_words, listen=listen))
        words = ("bootstrap", "--charter", papers.charter_path, "--state", tmp_path / "b", "--listen", listen)
        assert f"cannot listen on {listen}" in refused(FAILED, *words)


# --- state folders ----------------------------------------------------------------------------------------------------


def test_a_state_folder_in_use_and_one_of_another_run(
    peer_words: dict[str, object], papers: Papers, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with (state / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another peer is using the state folder" in refused(FAILED, *peer(peer_words))
    other = msgspec.structs.replace(papers.charter, run=msgspec.structs.replace(papers.charter.run, name="other"))
    papers.sign(other, state / "charter.toml")
    before = contents(state)
    assert "belongs to another run" in refused(FAILED, *peer(peer_words))
    assert contents(state) == before


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("charter.toml", "charter.toml is damaged"),
        ("acceptor", "the record of votes in the state folder is corrupted"),
        ("identity.key", "not an Ed25519 key file"),
    ],
)
def test_a_damaged_state_folder_is_refused_and_kept(
    peer_words: dict[str, object], papers: Papers, tmp_path: Path, name: str, cause: str
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    shutil.copy(papers.charter_path, state / "charter.toml")
    (state / name).write_bytes(b"\xffgarbage")
    (state / name).chmod(0o600)
    changes: dict[str, object] = {"identity": None} if name == "identity.key" else {}
    assert cause in refused(FAILED, *peer(peer_words, **changes))
    assert (state / name).read_bytes() == b"\xffgarbage"


def test_a_full_disk(peer_words: dict[str, object]) -> None:
    """A state folder on a tiny file system of its own: what was there stays, one line says what is wrong."""
    words = " ".join(f"'{word}'" for word in peer(peer_words))
    state = peer_words["--state"]
    script = f"mkdir {state} && mount -t tmpfs -o size=48k none {state} && {sys.executable} -m peers {words}"
    probe = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("the kernel lets nobody mount in a namespace of their own here")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=120,
        check=False,
    )
    assert done.returncode == FAILED, done.stderr
    assert done.stderr.splitlines()[-1].startswith("tapestry: cannot write")
    assert "No space left on device" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written(peer_words: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot use the folder" in refused(FAILED, *peer(peer_words, state=tmp_path / "file" / "state"))


# --- charters ---------------------------------------------------------------------------------------------------------


def test_charters_a_bootstrap_node_refuses(papers: Papers, tmp_path: Path) -> None:
    def refusal(charter: Path, code: int = FAILED) -> str:
        return refused_at_once(code, "bootstrap", "--charter", charter, "--state", tmp_path / "b", "--listen", LOOPBACK)

    unsigned = tmp_path / "unsigned.toml"
    files.write(unsigned, SignedCharter(charter=papers.charter))
    assert "signature" in refusal(unsigned)
    run = msgspec.structs.replace(papers.charter.run, created=1, expires=2)
    assert "expired" in refusal(papers.sign(msgspec.structs.replace(papers.charter, run=run), tmp_path / "old.toml"))
    (tmp_path / "garbage.toml").write_text("a charter?")
    assert "not TOML" in refusal(tmp_path / "garbage.toml")
    assert "does not exist" in refusal(tmp_path / "nowhere.toml", WRONG_USAGE)


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        (MODEL | {"num_attention_heads": 3}, "transformers refuses the model config"),
        (MODEL | {"model_type": "no-such-model"}, "transformers refuses the model config"),
        ({"vocab_size": 256}, "model_type"),
    ],
)
def test_a_model_config_that_transformers_refuses(
    papers: Papers, tmp_path: Path, config: dict[str, object], cause: str
) -> None:
    (tmp_path / "model.json").write_text(json.dumps(config))
    ada = papers.members["ada"].peer_id
    words = ["--config", tmp_path / "model.json", "--name", "x", "--region", "eu=DE", "--member", f"ada={ada}"]
    words += ["--founder", papers.founder.peer_id, "--genesis", papers.peers["ada"].peer_id]
    assert cause in refused_at_once(FAILED, "charter", "new", tmp_path / "run.toml", *words)
    assert sorted(os.listdir(tmp_path)) == ["model.json"]


def test_a_cap_that_cannot_be_kept(papers: Papers, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps(MODEL))
    ada = papers.members["ada"].peer_id
    words = ["--config", tmp_path / "model.json", "--name", "x", "--region", "eu=DE", "--member", f"ada={ada}"]
    words += ["--founder", papers.founder.peer_id, "--genesis", papers.peers["ada"].peer_id, "--cap-percent", 50]
    assert "100 %" in refused_at_once(FAILED, "charter", "new", tmp_path / "run.toml", *words)
    assert sorted(os.listdir(tmp_path)) == ["model.json"]


def test_ctrl_c_ends_a_bootstrap_node_cleanly(papers: Papers, tmp_path: Path) -> None:
    node = Running(
        *("bootstrap", "--charter", papers.charter_path, "--state", tmp_path / "b", "--listen", LOOPBACK),
    )
    wait_for("the bootstrap node", lambda: "Ctrl+C to stop" in node.stdout)
    assert node.end(signal.SIGINT) == 0, node.stderr
    assert "Traceback" not in node.stderr
