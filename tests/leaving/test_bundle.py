"""Exit: one file with everything, which holds to the last byte and needs nothing but the run id to be checked."""

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from peers.cli.app import app
from peers.leaving.check import check_bundle
from peers.leaving.contents import state_pieces
from peers.leaving.write import Extras, write_bundle
from swarm.charter import files
from swarm.errors import LineageError, TapestryError
from swarm.sovereignty import statements
from swarm.sovereignty.heads import HEADS_NAME
from swarm.state.resume import resume
from swarm.state.run import Run
from swarm.state.store import DiskStore
from tests.lineage.folders import ME, SECRET_NAME


def tapestry(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def run_of(state: Path) -> Run:
    return Run(files.read(state / "charter.toml").charter)


def check(data: bytes, run: str) -> None:
    with TemporaryDirectory() as scratch:
        bundle, into = Path(scratch) / "bundle.tar", Path(scratch) / "into"
        bundle.write_bytes(data)
        into.mkdir()
        check_bundle(bundle, run, (), into)


def test_it_says_what_it_has_checked(left: Path) -> None:
    run = run_of(left / "state")
    found = json.loads(tapestry("exit", "verify", left / "bundle.tar", "--run-id", run.id, "--json"))
    assert found["valid"] and (found["round"], found["records"], found["means"]) == (2, 2, 2)
    assert found["peer"] == ME.peer_id and found["countersigned_frames"] == 5 and not found["has_private_key"]
    assert found["ledger"] == "self-consistent, unwitnessed" and found["models"] == ["state/shared-base"]
    assert not (left / "state" / "shared-base").exists(), "the state folder itself stays as it is"


def test_heads_that_others_hold_witness_the_ledger(left: Path, tmp_path: Path) -> None:
    witness = tmp_path / f"{ME.peer_id}.jsonl"
    shutil.copy(left / "state" / HEADS_NAME, witness)
    run = run_of(left / "state")
    words = ("exit", "verify", left / "bundle.tar", "--run-id", run.id, "--witness", witness, "--json")
    assert json.loads(tapestry(*words))["ledger"] == "witnessed"


def test_the_same_state_gives_the_same_bytes_and_any_tar_opens_them(left: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.tar"
    write_bundle(left / "state", again, ME, Extras(), at=1_750_000_000.0)
    assert again.read_bytes() == (left / "bundle.tar").read_bytes()
    with tarfile.open(again) as tar:
        names = tar.getnames()
        guide = tar.extractfile("HOW_TO_RESTORE.md")
        assert guide is not None and f"--run-id {run_of(left / 'state').id}" in guide.read().decode()
    assert names[0] == "manifest.dsse.json" and "state/ledger.jsonl" in names and "keys.json" in names
    assert not [name for name in names if "residual" in name or "identity" in name or "events" in name]


@lru_cache(1)
def places(bundle: Path) -> list[tuple[int, str]]:
    """Where each file's header begins, in order."""
    with tarfile.open(bundle) as tar:
        return [(member.offset, member.name) for member in tar]


@settings(max_examples=60)
@given(data=st.data())
def test_one_byte_changed_anywhere_is_refused_by_name(left: Path, data: st.DataObject) -> None:
    bundle = left / "bundle.tar"
    whole = bytearray(bundle.read_bytes())
    starts = places(bundle)
    number = data.draw(st.integers(0, len(starts)))
    begin = starts[number][0] if number < len(starts) else len(whole) - 1024
    end = starts[number + 1][0] if number + 1 < len(starts) else len(whole) - 1024 * (number < len(starts))
    at = data.draw(st.integers(begin, end - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(LineageError) as refused:
        check(bytes(whole), run_of(left / "state").id)
    name = starts[number][1] if number < len(starts) else "the end of"
    assert name in str(refused.value) or name == "manifest.dsse.json", (at, str(refused.value))


@pytest.mark.parametrize("cut", [0, 100, 5000, -1, -1024])
def test_a_cut_or_a_longer_bundle_is_refused(left: Path, cut: int) -> None:
    whole = (left / "bundle.tar").read_bytes()
    run = run_of(left / "state").id
    for data in (whole[:cut], whole + b"\0"):
        with pytest.raises(LineageError):
            check(data, run)


def test_a_signed_manifest_can_name_no_place_outside(
    left: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peers.leaving.contents.STATE_FOLDER", "../state")
    monkeypatch.setattr("peers.leaving.write.manifests.STATE_FOLDER", "../state")
    with pytest.raises(LineageError, match="has no place in a bundle"):
        write_bundle(left / "state", tmp_path / "out.tar", ME, Extras(), at=0.0)
    assert not (tmp_path / "out.tar").exists() and not list(tmp_path.iterdir())


def test_what_does_not_hold_makes_no_bundle(left: Path, tmp_path: Path) -> None:
    def broken(name: str, at: int) -> str:
        state = Path(shutil.copytree(left / "state", tmp_path / f"state-{at}"))
        path = state / name
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)
        with pytest.raises(TapestryError) as refused:
            write_bundle(state, tmp_path / "out.tar", ME, Extras(), at=0.0)
        assert not (tmp_path / "out.tar").exists()
        return str(refused.value)

    assert "round 2" in broken("records/000000002", -60)
    assert "ledger" in broken("ledger.jsonl", 30)
    assert "trained.jsonl: the session at entry 0" in broken("trained.jsonl", 20)


def test_it_is_checked_without_a_network_by_who_knows_the_run_id_alone(left: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    run = run_of(left / "state").id
    apart = ["unshare", "--user", "--map-root-user", "--net"]
    probe = subprocess.run([*apart, "true"], capture_output=True, check=False)
    # Where the kernel refuses namespaces to this user, the same check runs beside a network that it does not use.
    start = apart if probe.returncode == 0 else []
    command = [*start, sys.executable, "-m", "peers", "exit", "verify", str(left / "bundle.tar"), "--run-id", run]
    root = str(Path(__file__).parents[2])
    environment = {"PATH": os.environ["PATH"], "HOME": str(nothing), "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=nothing, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("verified: "), done.stderr
    assert "is the charter of run" in tapestry(*command[-5:-1], "0" * 64, code=1)


def test_a_restored_folder_is_one_a_peer_starts_from(left: Path, tmp_path: Path) -> None:
    run = run_of(left / "state")
    tapestry("exit", "restore", left / "bundle.tar", "--run-id", run.id, "--out", tmp_path / "back")
    state = tmp_path / "back" / "state"
    said: list[str] = []
    head = asyncio.run(resume(run, DiskStore(state), said.append))
    assert head is not None and head.round == 2 and not said
    (verdict,) = [json.loads(tapestry("audit", "verify", state, "--json"))]
    assert verdict["verdict"] == "self-consistent, unwitnessed" and verdict["own_heads"] == 1
    assert SECRET_NAME in (state / "trained.jsonl").read_text()
    tapestry("exit", "restore", left / "bundle.tar", "--run-id", run.id, "--out", tmp_path / "back", code=2)


def test_a_running_peer_is_copied_up_to_its_last_whole_line(left: Path, tmp_path: Path) -> None:
    state = Path(shutil.copytree(left / "state", tmp_path / "state"))
    before = (state / "ledger.jsonl").stat().st_size
    with (state / "ledger.jsonl").open("ab") as ledger:
        ledger.write(b'{"n":12,"at":0,"pe')
    (state / "snapshots" / "000000002.7.new").write_bytes(b"half a checkpoint")
    taken = {piece.name: piece for piece in state_pieces(state)}
    assert taken["state/ledger.jsonl"].size_bytes == before
    assert "state/snapshots/000000002.7.new" not in taken
    write_bundle(state, tmp_path / "bundle.tar", ME, Extras(), at=0.0)


def test_the_private_key_goes_along_only_when_asked(left: Path, tmp_path: Path) -> None:
    key = tmp_path / "peer.key"
    ME.save(key)
    words = ("exit", left / "state", "--identity", key, "--out")
    tapestry(*words, tmp_path / "with.tar", "--with-private-key")
    run = run_of(left / "state").id
    found = json.loads(tapestry("exit", "verify", tmp_path / "with.tar", "--run-id", run, "--json"))
    assert found["has_private_key"]
    tapestry("exit", "restore", tmp_path / "with.tar", "--run-id", run, "--out", tmp_path / "back")
    restored = tmp_path / "back" / "state" / "identity.key"
    assert restored.read_bytes() == key.read_bytes() and restored.stat().st_mode & 0o077 == 0
    assert key.read_bytes() not in (left / "bundle.tar").read_bytes()


def test_wrong_paths_and_words_are_exit_2(left: Path, tmp_path: Path) -> None:
    tapestry("exit", tmp_path / "nowhere", "--out", tmp_path / "x.tar", code=2)
    tapestry("exit", left / "state", "--out", left / "bundle.tar", code=2)
    tapestry("exit", "verify", tmp_path / "nowhere.tar", "--run-id", "0" * 64, code=2)
    assert "64 hexadecimal" in tapestry("exit", "verify", left / "bundle.tar", "--run-id", "abc", code=2)
    assert "is not a bundle" in tapestry(
        "exit", "verify", left / "state" / "ledger.jsonl", "--run-id", "0" * 64, code=1
    )


def test_a_stranger_in_the_receipts_is_found(left: Path, tmp_path: Path) -> None:
    state = Path(shutil.copytree(left / "state", tmp_path / "state"))
    (path,) = (state / "receipts" / "got").iterdir()
    (signed,) = statements.read(path)
    statements.append(path, [signed])
    with pytest.raises(LineageError, match="countersigned a frame that the ledger does not have"):
        write_bundle(state, tmp_path / "out.tar", ME, Extras(), at=0.0)


def test_reading_a_member_needs_all_of_it() -> None:
    from peers.leaving.tarball import header, read_member

    with pytest.raises(LineageError, match=r"x: the bundle ends inside it"):
        read_member(io.BytesIO(header("x", 9) + b"short"), "x", 9, lambda part: None)
