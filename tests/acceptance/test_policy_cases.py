"""Five of the six acceptance cases of data governance, by name, through the real policy, gate, ledger and export."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from peers.cli.app import app
from peers.corpus.regions import REGIONS, write_region_folder
from peers.corpus.store import Corpus
from swarm.charter.manifest import Training
from swarm.errors import PolicyError
from swarm.sovereignty.dispatch import Request, check_dispatch
from swarm.sovereignty.entry import Tier
from swarm.sovereignty.export import check_export
from swarm.sovereignty.gate import Denied
from swarm.sovereignty.heads import OwnHeads
from swarm.sovereignty.lattice import join_all, restrictions_of
from swarm.sovereignty.permit import Permit
from swarm.sovereignty.policy import files_for, label_folder, read_policy
from swarm.sovereignty.reasons import Reason
from swarm.sovereignty.uses import Use
from tests.acceptance.conftest import Opener
from tests.acceptance.papers import AT_S, FAR, NEAR, Office, Wire, send_part, table, write_data
from tests.simulation import make_charter, peer_identity

CHARTER = make_charter(3)


def tapestry(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def code_of(verdict: Permit | Denied | None) -> str:
    return verdict.code if isinstance(verdict, Denied) else "allowed"


def test_allowed_open_data_request(tmp_path: Path, opened: Opener) -> None:
    """Open data, for what it may be used for: permitted, sent, and on record with the policy that allowed it."""
    office = opened(write_data(tmp_path / "data", table()), tmp_path / "state")
    assert check_dispatch(office.policy, Request(Use.SHARED_BASE, "FR", CHARTER)) is None
    permit = office.ask({NEAR: "eu"})
    assert isinstance(permit, Permit)
    stream = Wire(NEAR)
    asyncio.run(send_part(office, stream, permit))
    assert len(stream.sent) == 1 and office.sent_bytes == len(stream.sent[0])
    (decision,) = office.decisions()
    digest = read_policy(tmp_path / "data" / "policy.toml").digest
    assert (decision.verdict, decision.round, decision.code, decision.policy) == ("permit", 1, Reason.ALLOWED, digest)


def test_denied_purpose_mismatch(tmp_path: Path, opened: Opener) -> None:
    """Data for evaluation only: refused before anything starts, and by the gate if somebody got that far."""
    data = write_data(tmp_path / "data", table(uses='["evaluation"]'))
    rules = read_policy(data / "policy.toml")
    with pytest.raises(PolicyError, match=r"not for shared-base \[purpose_mismatch\]") as caught:
        files_for(label_folder(data, rules), Use.SHARED_BASE)
    assert caught.value.code == Reason.PURPOSE_MISMATCH
    join = f"/ip4/127.0.0.1/tcp/1/p2p/{NEAR}"
    cause = tapestry("peer", "--join", join, "--data", data, "--state", tmp_path / "never", code=1)
    assert "[purpose_mismatch]" in cause and cause.count("\n") == 1
    assert not (tmp_path / "never").exists()
    office = opened(data, tmp_path / "state")
    assert code_of(check_dispatch(office.policy, Request(Use.SHARED_BASE, "DE", CHARTER))) == "purpose_mismatch"
    assert check_dispatch(office.policy, Request(Use.EVALUATION, "DE")) is None
    assert code_of(office.ask({NEAR: "eu"})) == "purpose_mismatch"
    (decision,) = office.decisions()
    assert (decision.verdict, decision.code, decision.policy) == ("denied", Reason.PURPOSE_MISMATCH, rules.digest)
    assert office.sent_bytes == 0


def test_local_only_dispatch(tmp_path: Path, opened: Opener) -> None:
    """Sovereign data is worked on at home and nowhere else; its single updates go to its own region only."""
    data = write_data(tmp_path / "data", table(label="sovereign"))
    office = opened(data, tmp_path / "state", min_contributors=1)
    assert check_dispatch(office.policy, Request(Use.SHARED_BASE, "DE", CHARTER)) is None
    abroad = check_dispatch(office.policy, Request(Use.SHARED_BASE, "FR", CHARTER))
    assert code_of(abroad) == "outside_residency" and isinstance(abroad, Denied) and abroad.policy
    gradients = msgspec.structs.replace(CHARTER, training=Training(mode="gradient"))
    assert code_of(check_dispatch(office.policy, Request(Use.SHARED_BASE, "DE", gradients))) == "needs_open_data"
    at_home = office.ask({NEAR: "eu"})
    assert isinstance(at_home, Permit)
    assert code_of(office.ask({FAR: "asia"}, ("eu", "asia"))) == "label_forbids_crossing"
    with pytest.raises(AssertionError):  # a permit for one region opens no stream to another
        asyncio.run(send_part(office, Wire(FAR), at_home))
    assert [decision.code for decision in office.decisions()] == [Reason.ALLOWED, Reason.LABEL_FORBIDS_CROSSING]
    assert office.sent_bytes == 0


def test_restriction_preserving_transformation(tmp_path: Path) -> None:
    """What the pilot writes from a member's folder is bound by all that bound the folder, in its new policy."""
    tables = (
        table(),
        table(name="court files", files='["court/*.txt"]', label="sovereign", licence="DL-DE-BY-2.0", privacy="dp"),
    )
    texts = {"letters/one.txt": "Guten Tag", "court/one.txt": "Urteil"}
    data = write_data(tmp_path / "data", *tables, texts=texts)
    (data / "policy.toml").write_text(
        (data / "policy.toml").read_text().replace("version = 2", 'version = 2\nisolation = "namespaces"')
        + "[dp]\nepsilon = 3.0\nnoise_multiplier = 1.0\nmax_grad_norm = 1.0\n"
    )
    rules = read_policy(data / "policy.toml")
    inputs = [restrictions_of(file.dataset, rules.isolation) for file in label_folder(data, rules)]
    text = tmp_path / "text.txt"
    text.write_text("Guten Tag\nUrteil\n")
    corpus = Corpus("folder", {"de": text, "fr": text}, {}, (), {"de": "as stated", "fr": "as stated"})
    write_region_folder(corpus, REGIONS[0], tmp_path / "made", join_all(inputs), rules.dp)
    made = read_policy(tmp_path / "made" / "policy.toml")
    outputs = [restrictions_of(file.dataset, made.isolation) for file in label_folder(tmp_path / "made", made)]
    assert outputs and made.dp == rules.dp
    for output in outputs:
        for given in inputs:
            terms = frozenset(term for licence in output.licences for term in licence.split(" AND "))
            assert msgspec.structs.asdict(made)["isolation"] == "namespaces"
            assert type(output)(**{**vars(output), "licences": terms}).is_at_least(given)
    elsewhere = [table(name="archives", residency="FR", label="sovereign")]
    other = read_policy(write_data(tmp_path / "fr", *elsewhere) / "policy.toml")
    both = join_all([*inputs, restrictions_of(other.datasets[0], "none")])
    with pytest.raises(PolicyError, match="nowhere"):
        write_region_folder(corpus, REGIONS[0], tmp_path / "mixed", both, rules.dp)


@pytest.fixture
def office(tmp_path: Path, opened: Opener) -> Office:
    """A peer that has sent one update from two data sets, was denied another, and has signed its ledger's head."""
    tables = (table(name="secret letters"), table(name="sermons", files='["sermons/*.txt"]', licence="CC-BY-4.0"))
    texts = {"letters/one.txt": "Lieber Otto", "sermons/one.txt": "Amen"}
    made = opened(write_data(tmp_path / "data", *tables, texts=texts), tmp_path / "state")
    permit = made.ask({NEAR: "eu"})
    assert isinstance(permit, Permit)
    asyncio.run(send_part(made, Wire(NEAR), permit))
    assert isinstance(made.ask({FAR: "asia"}, ("eu", "asia"), round_number=2), Denied)
    heads = OwnHeads(made.state, peer_identity(0), "c" * 64, made.ledger)
    assert asyncio.run(heads.sign(1, AT_S)) is not None
    return made


def test_visibility_filtered_audit_export(office: Office, tmp_path: Path) -> None:
    """Each tier sees its own, all check against one signed head, and the ledger is what it was."""
    before = {path.name: path.read_bytes() for path in office.state.iterdir() if path.is_file()}
    roots: set[str] = set()
    shown: dict[Tier, str] = {}
    records: dict[Tier, list[dict[str, object]]] = {}
    for tier in Tier:
        ledger, artefacts = tmp_path / f"{tier}.jsonl", tmp_path / f"{tier}-artefacts.jsonl"
        tapestry("audit", "export", office.state, "--out", ledger, "--tier", tier, "--artefacts", artefacts)
        check = check_export(ledger, peer_identity(0).peer_id)
        assert not check.faults
        roots.add(check.root)
        shown[tier] = ledger.read_text() + artefacts.read_text()
        records[tier] = [json.loads(line) for line in artefacts.read_text().splitlines()]
    assert len(roots) == 1
    for words, least in (
        (("secret letters", "sermons"), Tier.PRIVATE),
        (("CC-BY-4.0", NEAR, "single_update_would_cross", office.policy.digest), Tier.CONSORTIUM),
        (("shared-base", "dataset", '"decision"'), Tier.PUBLIC),
    ):
        for word in words:
            assert [tier for tier in Tier if word in shown[tier]] == list(Tier)[list(Tier).index(least) :], word
    ids = [[artefact["artifact_id"] for artefact in records[tier][0]["artefacts"]] for tier in Tier]  # type: ignore[attr-defined]
    assert ids[0] == ids[1] == ids[2] and len(set(ids[0])) == 2
    assert {path.name: path.read_bytes() for path in office.state.iterdir() if path.is_file()} == before
