"""Whether work on data may begin, decided by policy alone, and the gate's rules beyond labels."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from swarm.charter.manifest import Data, Quorum, SecureSum, Training
from swarm.identity.peer_id import PeerId
from swarm.sovereignty.decisions import Decision, basis_of, read_decision
from swarm.sovereignty.dispatch import Request, check_dispatch, protections_of
from swarm.sovereignty.gate import Denied, Gate, InForce
from swarm.sovereignty.labels import Label
from swarm.sovereignty.lattice import Restrictions
from swarm.sovereignty.permit import Permit
from swarm.sovereignty.reasons import Reason
from swarm.sovereignty.uses import Privacy, Use
from swarm.vector.grid import Grid
from tests.simulation import make_charter

CHARTER = make_charter(3)
GRADIENTS = msgspec.structs.replace(CHARTER, training=Training(mode="gradient"))
AVAILABLE = msgspec.structs.replace(CHARTER, quorum=Quorum(kind="available"))
SECURE = msgspec.structs.replace(CHARTER, aggregation=SecureSum())
LICENSED = msgspec.structs.replace(CHARTER, data=Data(licences=("CC0-1.0", "GPL-2.0")))
DIGEST = "ab" * 32


def ask(bound: Restrictions, request: Request) -> str:
    denied = check_dispatch(InForce(DIGEST, bound), request)
    if denied is None:
        return "allowed"
    assert denied.policy == DIGEST and denied.reason and "\n" not in denied.reason
    return denied.code


def under(*licences: str) -> Restrictions:
    return Restrictions(licences=frozenset(licences))


HOME = Restrictions(label=Label.SOVEREIGN, residency=frozenset({"DE"}))
SECRET = Restrictions(label=Label.PRIVATE, residency=frozenset({"DE"}), privacy=frozenset({Privacy.SECAGG}))


@pytest.mark.parametrize(
    ("bound", "request_", "code"),
    [
        (Restrictions(), Request(Use.SHARED_BASE, "US", CHARTER), "allowed"),
        (Restrictions(uses=frozenset({Use.EVALUATION})), Request(Use.EVALUATION, "US"), "allowed"),
        (Restrictions(uses=frozenset({Use.EVALUATION})), Request(Use.SHARED_BASE, "US", CHARTER), "purpose_mismatch"),
        (Restrictions(uses=frozenset()), Request(Use.SOVEREIGN_BUILD, "US"), "purpose_mismatch"),
        (HOME, Request(Use.SHARED_BASE, "DE", CHARTER), "allowed"),
        (HOME, Request(Use.SHARED_BASE, "FR", CHARTER), "outside_residency"),
        (HOME, Request(Use.SOVEREIGN_BUILD, "FR"), "outside_residency"),
        (HOME.join(Restrictions(residency=frozenset({"FR"}))), Request(Use.EVALUATION, "DE"), "outside_residency"),
        (under("CC0-1.0"), Request(Use.SHARED_BASE, "US", CHARTER), "allowed"),
        (under("CC0-1.0"), Request(Use.SHARED_BASE, "US", LICENSED), "allowed"),
        (under("CC0-1.0 AND GPL-2.0"), Request(Use.SHARED_BASE, "US", LICENSED), "allowed"),
        (under("CC0-1.0", "CC-BY-NC-4.0"), Request(Use.SHARED_BASE, "US", LICENSED), "licence_not_accepted"),
        (under("CC0-1.0 AND CC-BY-NC-4.0"), Request(Use.SHARED_BASE, "US", LICENSED), "licence_not_accepted"),
        (under("CC0-1.0 OR CC-BY-NC-4.0"), Request(Use.SHARED_BASE, "US", LICENSED), "licence_not_accepted"),
        (Restrictions(), Request(Use.SHARED_BASE, "US", LICENSED), "licence_not_accepted"),
        (under("CC-BY-NC-4.0"), Request(Use.SOVEREIGN_BUILD, "US"), "allowed"),
        (Restrictions(), Request(Use.SHARED_BASE, "US", GRADIENTS), "allowed"),
        (Restrictions(label=Label.CONTROLLED), Request(Use.SHARED_BASE, "US", GRADIENTS), "needs_open_data"),
        (Restrictions(label=Label.CONTROLLED), Request(Use.SHARED_BASE, "US", AVAILABLE), "needs_open_data"),
        (SECRET, Request(Use.SHARED_BASE, "DE", CHARTER, protections_of(CHARTER)), "privacy_missing"),
        (SECRET, Request(Use.SHARED_BASE, "DE", SECURE, protections_of(SECURE)), "allowed"),
        (SECRET, Request(Use.SOVEREIGN_BUILD, "DE"), "allowed"),
    ],
)
def test_a_request_is_allowed_or_refused_for_the_first_rule_it_breaks(
    bound: Restrictions, request_: Request, code: str
) -> None:
    assert ask(bound, request_) == code


def test_an_enclave_is_never_pretended() -> None:
    bound = Restrictions(privacy=frozenset({Privacy.ENCLAVE}))
    for charter in (CHARTER, SECURE):
        request = Request(Use.SHARED_BASE, "DE", charter, protections_of(charter) | {Privacy.DP})
        assert ask(bound, request) == "privacy_missing"


class Asked:
    """A gate under some restrictions, with what it has decided."""

    def __init__(self, bound: Restrictions, *protections: Privacy) -> None:
        self.decided: list[Decision] = []
        self.gate = Gate(
            region="eu",
            label=bound.label,
            min_contributors=3,
            policy=InForce(DIGEST, bound),
            decided=self.decided.append,
        )
        for protection in protections:
            self.gate.protect(protection)

    def update(self, round_number: int = 1) -> Permit | Denied:
        return self.gate.check_update(
            round_number=round_number,
            update_N=np.full(4, 0.1, np.float32),
            grid=Grid(4, 4),
            max_rms=1.0,
            recipients={PeerId("p0"): "eu"},
            regions={"eu"},
            basis=basis_of(bytes(32), 0, round_number),
        )


def test_private_data_leaves_only_under_a_protection_that_its_policy_names_and_that_is_in_force() -> None:
    bare = Restrictions(label=Label.PRIVATE)
    named = Restrictions(label=Label.PRIVATE, privacy=frozenset({Privacy.SECAGG}))
    both = Restrictions(label=Label.PRIVATE, privacy=frozenset({Privacy.SECAGG, Privacy.DP}))
    cases = (
        (Asked(bare), Reason.PRIVATE_DATA),
        (Asked(bare, Privacy.SECAGG), Reason.PRIVATE_DATA),
        (Asked(named), Reason.PRIVACY_MISSING),
        (Asked(named, Privacy.DP), Reason.PRIVACY_MISSING),
        (Asked(both, Privacy.SECAGG), Reason.PRIVACY_MISSING),
        (Asked(named, Privacy.SECAGG), Reason.ALLOWED),
        (Asked(both, Privacy.SECAGG, Privacy.DP), Reason.ALLOWED),
    )
    for asked, code in cases:
        verdict = asked.update()
        assert (verdict.code if isinstance(verdict, Denied) else Reason.ALLOWED) == code
        (decision,) = asked.decided
        assert (decision.code, decision.policy, decision.round) == (code, DIGEST, 1)
        assert read_decision(decision.line) == as_read_back(decision)


def as_read_back(decision: Decision) -> Decision:
    """As a ledger gives it back: the sentence for people is not in the line."""
    return Decision(decision.verdict, decision.subject, decision.round, decision.code, decision.policy, decision.basis)


def test_nothing_leaves_before_the_trainer_has_reported_the_isolation_that_is_demanded() -> None:
    asked = Asked(Restrictions(isolation="namespaces"))
    for level, code in (("none", "isolation_too_low"), ("network namespace", "isolation_too_low"), ("confined", "")):
        asked.gate.isolated(level)
        verdict = asked.update()
        assert (verdict.code if isinstance(verdict, Denied) else "") == code


def test_denials_of_aggregates_are_recorded_once_a_round() -> None:
    asked = Asked(Restrictions())
    for round_number in (4, 4, 5):
        verdict = asked.gate.check_aggregate(
            members=1, recipient=PeerId("p9"), recipient_region="asia", round_number=round_number
        )
        assert isinstance(verdict, Denied)
    assert [(decision.subject, decision.round) for decision in asked.decided] == [("aggregate", 4), ("aggregate", 5)]


LINES = ("protocol", "update/7", "policy/ab", "permit/update/x/allowed/-/-", "a/b/1/allowed/c/d", "permit/u/1/why/-/-")


@pytest.mark.parametrize("line", LINES)
def test_what_is_no_decision_is_not_read_as_one(line: str) -> None:
    assert read_decision(line) is None


def test_every_code_is_explained() -> None:
    page = (Path(__file__).parents[3] / "docs" / "sovereignty.md").read_text()
    assert [code for code in Reason if f"`{code}`" not in page] == []
