"""Exit: one file with everything, which holds to the last byte and needs nothing but the run id to be checked."""

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from typer.testing import CliRunner

from peers.cli.app import app
from peers.leaving import manifest as manifests
from peers.leaving import tarball
from peers.leaving.check import check_bundle
from peers.leaving.contents import state_pieces
from peers.leaving.write import Extras, write_bundle
from peers.lineage.dsse import MAX_ENVELOPE_BYTES, seal, unseal
from peers.lineage.sign import sign_state
from peers.lineage.statement import Lineage
from peers.lineage.verify import read_statement
from swarm.charter import files
from swarm.charter import passport as passports
from swarm.charter.documents import write_document
from swarm.errors import LineageError, PassportError, TapestryError
from swarm.sovereignty import statements
from swarm.sovereignty.entry import Tier
from swarm.sovereignty.heads import HEADS_NAME, OwnHeads
from swarm.sovereignty.ledger import Ledger
from swarm.sovereignty.trained import read_sessions
from swarm.state.resume import resume
from swarm.state.run import Run
from swarm.state.store import DiskStore
from tests.lineage.folders import ME, SECRET_NAME, write_policy
from tests.simulation import CREATED_S, MEMBER_KEYS, peer_identity

MADE_AT = 1_750_000_000.0
"""When the bundle was made."""


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
    assert (found["policies"], found["policies_missing"]) == (1, 0)
    assert found["ledger"] == "self-consistent, unwitnessed" and found["models"] == ["state/shared-base"]
    assert not (left / "state" / "shared-base").exists(), "the state folder itself stays as it is"


def test_heads_that_others_hold_witness_the_ledger(left: Path, tmp_path: Path) -> None:
    witness = tmp_path / f"{ME.peer_id}.jsonl"
    shutil.copy(left / "state" / HEADS_NAME, witness)
    run = run_of(left / "state")
    words = ("exit", "verify", left / "bundle.tar", "--run-id", run.id, "--witness", witness, "--json")
    assert json.loads(tapestry(*words))["ledger"] == "witnessed"


@pytest.mark.parametrize(("at", "is_later"), [(MADE_AT - 1, False), (MADE_AT + 1, True)])
def test_whoever_goes_on_afterwards_has_cut_nothing_off(left: Path, tmp_path: Path, at: float, is_later: bool) -> None:
    """A witness holds a head over more entries than the bundle has: signed before it was made, or after."""
    state = Path(shutil.copytree(left / "state", tmp_path / "state"))
    run = run_of(state)
    with Ledger(state / "ledger.jsonl", lambda: 0.0) as ledger:
        ledger.note(b"one more", "decision")
        asyncio.run(OwnHeads(state, ME, run.id, ledger).sign(3, at))
    words = ("exit", "verify", left / "bundle.tar", "--run-id", run.id, "--witness", state / HEADS_NAME)
    if not is_later:
        assert "truncated" in tapestry(*words, code=1)
        return
    found = json.loads(tapestry(*words, "--json"))
    assert (found["ledger"], found["later_heads"]) == ("witnessed", 1)
    assert "1 heads of later entries" in tapestry(*words)


def test_the_same_state_gives_the_same_bytes_and_any_tar_opens_them(left: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.tar"
    write_bundle(left / "state", again, ME, Extras(), at=MADE_AT)
    assert again.read_bytes() == (left / "bundle.tar").read_bytes()
    with tarfile.open(again) as tar:
        names = tar.getnames()
        guide = tar.extractfile("HOW_TO_RESTORE.md")
        assert guide is not None and f"--run-id {run_of(left / 'state').id}" in guide.read().decode()
    assert names[0] == "manifest.dsse.json" and "state/ledger.jsonl" in names and "keys.json" in names
    assert not [name for name in names if "residual" in name or "identity" in name or "events" in name]


@dataclass(frozen=True)
class Place:
    """A file in a bundle, as offsets in it."""

    name: str
    header: int
    content: int
    end: int
    """Of its content; what follows up to the next header is padding."""
    next: int


@lru_cache(1)
def places(bundle: Path) -> list[Place]:
    """Every file, in order, and what stands after them all."""
    with tarfile.open(bundle) as tar:
        members = [(member.name, member.offset, member.offset_data, member.size) for member in tar]
    last = bundle.stat().st_size
    ends = [start for _, start, _, _ in members[1:]] + [members[-1][2] + -(-members[-1][3] // 512) * 512]
    found = [
        Place(name, start, data, data + size, end) for (name, start, data, size), end in zip(members, ends, strict=True)
    ]
    return [*found, Place("the end of", ends[-1], ends[-1], last, last)]


def refused(left: Path, place: Place, at: int, flipped: int) -> None:
    """One byte of a bundle is another, and the refusal names the file it belongs to."""
    whole = bytearray((left / "bundle.tar").read_bytes())
    whole[at] ^= flipped
    with pytest.raises(LineageError) as error:
        check(bytes(whole), run_of(left / "state").id)
    assert place.name in str(error.value) or place.name == "manifest.dsse.json", (place, at, str(error.value))


def test_in_every_file_a_changed_byte_is_refused_by_name(left: Path) -> None:
    """In what announces it, at its beginning, in its middle, at its end, and in what fills it up."""
    files = places(left / "bundle.tar")
    assert {"state/ledger.jsonl", "state/shared-base/base.safetensors", "keys.json"} <= {each.name for each in files}
    for place in files:
        middle = (place.content + place.end) // 2
        for at in sorted({place.header, place.content, middle, place.end - 1, place.next - 1}):
            refused(left, place, at, 1)


@settings(max_examples=40)
@given(data=st.data())
def test_one_byte_changed_anywhere_is_refused_by_name(left: Path, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(places(left / "bundle.tar")))
    refused(left, place, data.draw(st.integers(place.header, place.next - 1)), data.draw(st.integers(1, 255)))


@pytest.mark.parametrize("cut", [0, 100, 5000, -1, -1024])
def test_a_cut_or_a_longer_bundle_is_refused(left: Path, cut: int) -> None:
    whole = (left / "bundle.tar").read_bytes()
    run = run_of(left / "state").id
    for data in (whole[:cut], whole + b"\0"):
        with pytest.raises(LineageError):
            check(data, run)


@pytest.mark.parametrize(
    "name", ["../state/x", "/tmp/x", "state/../../x", "state//x", "elsewhere/x", "state/a\\b", "state/\x1b[2J", ""]
)
def test_a_signed_manifest_can_name_no_place_outside(name: str, left: Path, tmp_path: Path) -> None:
    with (left / "bundle.tar").open("rb") as file:
        envelope = tarball.read_first(file, manifests.MANIFEST_NAME, MAX_ENVELOPE_BYTES, "here")
    whole = manifests.decode(unseal(envelope, "here")[1], "here")
    (first, *others) = whole.subject
    lying = replace(whole, subject=(replace(first, name=name), *others))
    sealed = seal(manifests.encode(lying), ME)
    bundle = tmp_path / "bundle.tar"
    with bundle.open("wb") as file:
        tarball.write_member(file, manifests.MANIFEST_NAME, len(sealed), [sealed])
    with pytest.raises(LineageError, match="has no place in a bundle"):
        check(bundle.read_bytes(), run_of(left / "state").id)


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


def check_elsewhere(left: Path, folder: Path, *before: str) -> None:
    """In an empty folder, by a process that knows the run id; `before` are the words that start it."""
    folder.mkdir()
    run = run_of(left / "state").id
    command = [*before, sys.executable, "-m", "peers", "exit", "verify", str(left / "bundle.tar"), "--run-id", run]
    root = str(Path(__file__).parents[2])
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("verified: "), done.stderr


def test_it_is_checked_by_who_knows_the_run_id_alone(left: Path, tmp_path: Path) -> None:
    check_elsewhere(left, tmp_path / "nothing")
    words = ("exit", "verify", left / "bundle.tar", "--run-id", "0" * 64)
    assert "is the charter of run" in tapestry(*words, code=1)


def test_it_is_checked_without_a_network(left: Path, tmp_path: Path) -> None:
    apart = ("unshare", "--user", "--map-root-user", "--net")
    probe = subprocess.run([*apart, "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"no network can be taken away here: {probe.stderr.strip()}")
    alone = ("sh", "-c", 'test "$(grep -c : /proc/net/dev)" = 1 && exec "$@"', "sh")  # nothing but a dead loopback
    check_elsewhere(left, tmp_path / "nothing", *apart, *alone)


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


def test_policies_come_along_by_themselves_and_are_what_sessions_name(left: Path, tmp_path: Path) -> None:
    state = Path(shutil.copytree(left / "state", tmp_path / "state"))
    (kept,) = (state / "policies").iterdir()
    (session,) = read_sessions(state)
    assert kept.stem == session.policy and kept.stat().st_mode & 0o077 == 0
    text = kept.read_text()
    kept.write_text(text.replace('residency = "DE"', 'residency = "FR"'))
    with pytest.raises(LineageError, match="is not the policy that its name says"):
        write_bundle(state, tmp_path / "changed.tar", ME, Extras(), at=0.0)
    kept.unlink()
    found = write_bundle(state, tmp_path / "without.tar", ME, Extras(), at=0.0)
    assert (found.policies, found.policies_missing) == (0, 1) and "1 missing" in found.text
    mine, other = (
        write_policy(tmp_path / "mine.toml"),
        write_policy(tmp_path / "o.toml", text.replace("CC0-1.0", "MIT")),
    )
    found = write_bundle(state, tmp_path / "with.tar", ME, Extras(policies=(mine, mine, other)), at=0.0)
    assert (found.policies, found.policies_missing) == (1, 0)


def test_a_passport_is_this_peers_or_refused(left: Path, tmp_path: Path) -> None:
    charter = run_of(left / "state").charter

    def passport(member: int, peer: int) -> Extras:
        holder, file = peer_identity(peer).peer_id, tmp_path / f"{member}-{peer}.passport"
        signed = passports.issue(MEMBER_KEYS[member], charter, holder, "DE", CREATED_S + 1000, CREATED_S)
        write_document(file, passports.encode(signed), PassportError)
        return Extras(passport=file)

    found = write_bundle(left / "state", tmp_path / "mine.tar", ME, passport(0, 0), at=0.0)
    assert found.files == len(places(left / "bundle.tar")) - 1  # one more than without: no manifest, no end
    with pytest.raises(LineageError, match=r"passport\.json is no passport of this peer: wrong_peer"):
        write_bundle(left / "state", tmp_path / "other.tar", ME, passport(0, 1), at=0.0)
    assert not (tmp_path / "other.tar").exists()


def test_the_shared_base_in_it_is_that_of_the_head(left: Path, tmp_path: Path) -> None:
    """Not one that was signed some rounds ago; one of the head that is signed already goes along as it is."""
    state = Path(shutil.copytree(left / "state", tmp_path / "state"))
    later = [state / "records" / "000000002", *(state / "results").glob("000000002-*")]
    for path in later:
        path.rename(tmp_path / path.name)
    sign_state(state, ME, tier=Tier.CONSORTIUM, at=1.0)
    for path in later:
        (tmp_path / path.name).rename(path)
    assert read_statement(state / "shared-base" / "statement.dsse.json")[1].predicate.base.round == 1

    def statement_in(bundle: Path) -> Lineage:
        write_bundle(state, bundle, ME, Extras(), at=2.0)
        with tarfile.open(bundle) as tar:
            tar.extract("state/shared-base/statement.dsse.json", tmp_path / bundle.stem, filter="data")
        return read_statement(tmp_path / bundle.stem / "state" / "shared-base" / "statement.dsse.json")[1].predicate

    stale = statement_in(tmp_path / "stale.tar")
    assert (stale.base.round, stale.tier, stale.made_at) == (2, Tier.PUBLIC, 2.0)
    sign_state(state, ME, tier=Tier.CONSORTIUM, at=1.0)
    current = statement_in(tmp_path / "current.tar")
    assert (current.base.round, current.tier, current.made_at) == (2, Tier.CONSORTIUM, 1.0)


def test_wrong_paths_and_words_are_exit_2(left: Path, tmp_path: Path) -> None:
    tapestry("exit", tmp_path / "nowhere", "--out", tmp_path / "x.tar", code=2)
    tapestry("exit", left / "state", "--out", left / "bundle.tar", code=2)
    tapestry("exit", "verify", tmp_path / "nowhere.tar", "--run-id", "0" * 64, code=2)
    assert "give --identity" in tapestry("exit", left / "state", "--out", tmp_path / "x.tar", code=2)
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
    with pytest.raises(LineageError, match=r"x: the bundle ends inside it"):
        tarball.read_member(io.BytesIO(tarball.header("x", 9) + b"short"), "x", 9, lambda part: None)
