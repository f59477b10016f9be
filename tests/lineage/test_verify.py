"""Statements: signed, shown, checked down to the charter, and refused as soon as anything is otherwise."""

import base64
import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3
from typer.testing import CliRunner

import swarm
from peers.cli.app import app
from peers.lineage import dsse
from peers.lineage import statement as statements
from peers.lineage.code import DISTRIBUTION
from peers.lineage.code import code as code_of_this_program
from peers.lineage.sources import MARK_ONLY
from peers.lineage.statement import Parent, Stage, Statement
from peers.privacy.account import ACCOUNT, Account
from peers.privacy.accounting import accountant_name, epsilon_of
from swarm.errors import LineageError
from swarm.identity.key import Identity
from swarm.identity.peer_id import pre_authentication
from swarm.node.spending import MARK, SpentMark
from swarm.sovereignty.labels import Label
from swarm.state.disk import replace_file
from swarm.state.tensors import safetensors_parts
from tests.lineage.folders import ME, ROUNDS, SECRET_NAME, make_state
from tests.simulation import ELEMENTS, base_zero


def tapestry(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def signed(state: Path, key: Path, *more: str) -> Path:
    tapestry("lineage", "sign", "--state", state, "--identity", key, *more)
    return state / "shared-base" / "statement.dsse.json"


def rewritten(file: Path, change: Callable[[Statement], Statement], by: Identity = ME) -> None:
    """Another statement under a good signature."""
    _, payload = dsse.read_envelope(file)
    file.write_bytes(dsse.seal(statements.encode(change(statements.decode(payload, "here"))), by))


def with_lineage(**fields: object) -> Callable[[Statement], Statement]:
    def change(statement: Statement) -> Statement:
        return msgspec.structs.replace(statement, predicate=msgspec.structs.replace(statement.predicate, **fields))

    return change


def test_the_encoding_that_is_signed_is_that_of_the_dsse_protocol() -> None:
    # The example of the specification's protocol.md.
    assert pre_authentication("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_an_envelope_is_what_any_dsse_reader_expects(state: Path, key: Path) -> None:
    envelope = json.loads(signed(state, key).read_text())
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert envelope["signatures"][0]["keyid"] == ME.peer_id
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1" and statement["predicateType"].endswith(":v1")
    assert {"sha256", "blake3"} == set(statement["subject"][0]["digest"])


def test_it_walks_to_the_charter_and_replays_every_mean(state: Path, key: Path) -> None:
    signed(state, key)
    found = json.loads(tapestry("lineage", "verify", state, "--state", state, "--json"))
    assert found["coverage"] == {"files": 1, "records": ROUNDS, "rounds": ROUNDS, "means": ROUNDS, "weights": True}
    assert found["signer"] == ME.peer_id and "roster" in found["signer_is"]


def test_coverage_says_what_was_not_looked_at(state: Path, key: Path) -> None:
    signed(state, key)
    for path in sorted((state / "results").iterdir())[2:4]:
        path.unlink()
    found = json.loads(tapestry("lineage", "verify", state, "--state", state, "--json"))
    # Rounds 1 and 2 follow from state 0; nothing leads to round 3, and so not to those after it.
    assert found["coverage"] == {"files": 1, "records": ROUNDS, "rounds": ROUNDS, "means": 2, "weights": False}
    alone = tapestry("lineage", "verify", state)
    assert f"records 0 of {ROUNDS} rounds; means replayed 0 of {ROUNDS}; weights not compared" in alone


def test_state_zero_may_come_from_the_founders(state: Path, key: Path, tmp_path: Path) -> None:
    signed(state, key)
    zero = tmp_path / "charter.state0.safetensors"
    replace_file(zero, safetensors_parts({"base": base_zero(ELEMENTS)}))
    (state / "snapshots" / "000000000").unlink()
    words = ("lineage", "verify", state, "--state", state)
    assert f"means replayed 0 of {ROUNDS}" in tapestry(*words)
    assert f"means replayed {ROUNDS} of {ROUNDS}; the weights are" in tapestry(*words, "--state0", zero)
    flip(zero, -1)
    assert "is not the state 0 that the charter names" in tapestry(*words, "--state0", zero, code=1)


def test_names_and_digests_of_data_sets_never_appear(state: Path, key: Path) -> None:
    for tier in ("public", "consortium"):
        payload = dsse.read_envelope(signed(state, key, "--tier", tier))[1].decode()
        assert SECRET_NAME not in payload and f"digest of {SECRET_NAME}" not in payload and "salt" not in payload
        assert ("CC0-1.0" in payload) == (tier == "consortium")
    assert "none of public, consortium" in tapestry("lineage", "sign", "--state", state, "--tier", "private", code=2)


def test_show_prints_the_graph(state: Path, key: Path) -> None:
    file = signed(state, key)
    text = tapestry("lineage", "show", file)
    assert "state 0 of run simulation" in text and f"Shared Base of round {ROUNDS}" in text and "m1 (eu)" in text
    assert tapestry("lineage", "show", file, "--dot").startswith("digraph lineage {")


def test_any_changed_byte_of_a_statement_is_refused(state: Path, key: Path) -> None:
    whole = signed(state, key).read_bytes()
    assert dsse.unseal(whole, "it")[0] == ME.peer_id
    for at in range(0, len(whole), 3):
        with pytest.raises(LineageError):
            dsse.unseal(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], "it")
        with pytest.raises(LineageError):
            dsse.unseal(whole[:at], "it")


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a tampered statement": (
        lambda state: flip(state / "shared-base" / "statement.dsse.json", 200),
        "is not what",
    ),
    "other weights": (lambda state: flip(state / "shared-base" / "base.safetensors", -1), "is not the file that was"),
    "a file too many": (lambda state: (state / "shared-base" / "x.json").write_text("{}"), "is not in the statement"),
    "a pickle": (lambda state: (state / "shared-base" / "model.bin").write_text(""), "safetensors only"),
    "a missing file": (lambda state: (state / "shared-base" / "base.safetensors").unlink(), "is empty"),
    "a broken chain": (lambda state: flip(state / "records" / "000000003", -40), "round 3"),
    "a missing record": (lambda state: (state / "records" / "000000002").unlink(), "round 2 is missing"),
    "a missing parent": (lambda state: (state / "records" / "000000005").unlink(), "a missing parent"),
    "an unsigned charter": (
        lambda state: change_text(state / "charter.toml", 'name = "simulation"', 'name = "stimulation"'),
        "is the charter of run",
    ),
    "another checkpoint": (lambda state: flip(state / "snapshots" / "000000000", -1), "is not the state its quorum"),
}


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def change_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("case", REFUSED)
def test_what_was_changed_is_refused_with_its_cause(case: str, state: Path, key: Path) -> None:
    change, cause = REFUSED[case]
    signed(state, key)
    change(state)
    assert cause in tapestry("lineage", "verify", state, "--state", state, code=1)


def test_no_pickle_is_signed(state: Path, key: Path) -> None:
    signed(state, key)
    for name in ("model.bin", "model.BIN", "onnx/model.Pt"):
        path = state / "shared-base" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
        refused = tapestry("lineage", "sign", "--state", state, "--identity", key, code=1)
        assert f"{path} is a pickle file" in refused
        path.unlink()
    tapestry("lineage", "sign", "--state", state, "--identity", key)


def test_a_good_signature_does_not_make_a_statement_true(state: Path, key: Path) -> None:
    file = signed(state, key)
    statement = statements.decode(dsse.read_envelope(file)[1], "here")
    lineage = statement.predicate
    span = lineage.rounds[0]
    heavier = msgspec.structs.replace(
        span, roster=(msgspec.structs.replace(span.roster[0], weight=99), *span.roster[1:])
    )
    lies: list[tuple[dict[str, object], str]] = [
        ({"rounds": (heavier, *lineage.rounds[1:])}, "rosters or weights"),
        ({"base": msgspec.structs.replace(lineage.base, state="00" * 32)}, "is not the state of round"),
        ({"parents": ()}, "names no parent"),
        ({"base": msgspec.structs.replace(lineage.base, round=ROUNDS + 1)}, "a missing parent"),
    ]
    for fields, cause in lies:
        rewritten(file, lambda _, fields=fields: with_lineage(**fields)(statement))
        assert cause in tapestry("lineage", "verify", file, "--state", state, code=1)


def test_a_private_parent_inside_a_shared_model_is_refused(state: Path, key: Path) -> None:
    file = signed(state, key)
    lineage = statements.decode(dsse.read_envelope(file)[1], "here").predicate
    mine = Parent(relation="fine-tune", domain="sovereign", name="a build of acme", digest={"sha256": "ab" * 32})
    rewritten(file, with_lineage(parents=(*lineage.parents, mine)))
    assert "a private parent inside a shared model: a build of acme" in tapestry("lineage", "verify", file, code=1)
    stage = Stage(
        name="cpt",
        method="full",
        parent="00",
        result="01",
        data=(),
        evaluation=(),
        isolation="none",
        started=0.0,
        finished=1.0,
    )
    rewritten(file, with_lineage(parents=lineage.parents, stages=(stage,)))
    assert "a private parent inside a shared model" in tapestry("lineage", "verify", file, code=1)


def test_private_data_without_a_protection_makes_no_shared_model(tmp_path: Path, key: Path) -> None:
    state = tmp_path / "private"
    make_state(state, label=Label.PRIVATE, rounds=1)
    cause = tapestry("lineage", "sign", "--state", state, "--identity", key, code=1)
    assert "private data" in cause and SECRET_NAME not in cause


def test_privacy_spent_is_at_least_the_nodes_mark(tmp_path: Path, key: Path) -> None:
    state = tmp_path / "private"
    make_state(state, label=Label.PRIVATE, rounds=1)
    (state / MARK).write_bytes(msgspec.json.encode(SpentMark(40, 2.5)))
    spent = statements.decode(dsse.read_envelope(signed(state, key))[1], "here").predicate.privacy
    assert spent is not None and (spent.epsilon, spent.steps, spent.delta) == (2.5, 40, 1e-6)
    assert "epsilon 2.5" in tapestry("lineage", "show", state)


def test_privacy_spent_is_the_accounts_where_the_mark_says_less(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "private"
    make_state(state, label=Label.PRIVATE, rounds=1)
    (state / "trainer").mkdir()
    account = Account(state / "trainer" / ACCOUNT)
    for noise_multiplier in (1.1, 1.1, 0.8):
        account.charge(noise_multiplier, 0.01)
    (state / MARK).write_bytes(msgspec.json.encode(SpentMark(2, 0.001)))
    spent = statements.decode(dsse.read_envelope(signed(state, key))[1], "here").predicate.privacy
    assert spent is not None and spent.epsilon == epsilon_of(account.charges, 1e-6) > 0.001
    assert (spent.steps, spent.noise_multipliers, spent.accountant) == (3, (0.8, 1.1), accountant_name())

    def no_opacus(charges: object, delta: float) -> float:
        raise ModuleNotFoundError("opacus")

    monkeypatch.setattr("peers.lineage.sources.epsilon_of", no_opacus)
    spent = statements.decode(dsse.read_envelope(signed(state, key))[1], "here").predicate.privacy
    assert spent is not None and (spent.epsilon, spent.steps, spent.accountant) == (0.001, 3, MARK_ONLY)


def test_a_statement_names_the_program_by_a_digest_over_its_sources(state: Path, key: Path) -> None:
    root, tree = Path(__file__).parents[2], blake3()
    for path in sorted([*(root / "swarm").rglob("*.py")]) + sorted([*(root / "peers").rglob("*.py")]):
        data = path.read_bytes()
        tree.update(f"{path.relative_to(root)}\0{len(data)}\0".encode() + data)
    code = statements.decode(dsse.read_envelope(signed(state, key))[1], "here").predicate.code
    assert (code.digest, code.version) == (tree.hexdigest(), version(DISTRIBUTION))


def test_a_changed_moved_or_added_source_shows_in_the_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swarm, "__file__", str(tmp_path / "swarm" / "__init__.py"))
    found: list[str] = []
    for files in (
        {"swarm/a.py": "one", "peers/b.py": "two"},
        {"swarm/a.py": "onE", "peers/b.py": "two"},
        {"swarm/c.py": "one", "peers/b.py": "two"},
        {"swarm/a.py": "onet", "peers/b.py": "wo"},
        {"swarm/a.py": "one", "peers/b.py": "two", "peers/c.py": ""},
    ):
        for name in ("swarm", "peers"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            (tmp_path / name).mkdir()
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        found.append(code_of_this_program().digest)
    assert len({*found}) == len(found)


def test_another_run_or_another_author_is_said(state: Path, key: Path, tmp_path: Path) -> None:
    file = signed(state, key)
    assert "is about run" in tapestry("lineage", "verify", file, "--run-id", "00" * 32, code=1)
    rewritten(file, lambda statement: statement, by=MEMBER)
    found = json.loads(tapestry("lineage", "verify", state, "--state", state, "--json"))
    assert found["signer"] == MEMBER.peer_id and found["signer_is"] == "in no roster up to this round"
    tapestry("lineage", "verify", tmp_path / "nowhere", code=2)
    tapestry("lineage", "sign", code=2)


MEMBER = Identity.from_seed(bytes(31) + b"m")
