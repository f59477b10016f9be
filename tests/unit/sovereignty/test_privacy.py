"""Receipts for differential privacy as the gate judges them; and that no enclave is ever believed in."""

import numpy as np
import pytest
from msgspec.structs import replace

from swarm.identity.peer_id import PeerId
from swarm.sovereignty.attestation import NONCE_BYTES, Attested, Quote, Refused, attest
from swarm.sovereignty.gate import Denied, Gate, InForce
from swarm.sovereignty.labels import Label
from swarm.sovereignty.lattice import Restrictions
from swarm.sovereignty.permit import Permit
from swarm.sovereignty.policy import DpRules
from swarm.sovereignty.privacy import MAX_ACCOUNTANT_CHARACTERS, Receipt, Spent, budget_of, fault_of
from swarm.sovereignty.uses import Privacy
from swarm.vector.grid import Grid

DP = DpRules(epsilon=4.0, noise_multiplier=1.0, max_grad_norm=0.5, unit="document")
SPENT = Spent("document", 3.0, 1e-6, 1.0, 0.5, 90, "RDP, made up")
UPDATE_N = np.linspace(-1, 1, 100, dtype=np.float32)


def judged(receipt: Receipt | None, *, has_budget: bool = True, label: Label = Label.PRIVATE) -> str:
    bound = InForce("ab", Restrictions(label=label, privacy=frozenset({Privacy.DP})))
    gate = Gate(
        region="eu",
        label=label,
        min_contributors=1,
        policy=bound,
        budget=budget_of(DP, 1e-6) if has_budget else None,
    )
    verdict = gate.check_update(
        round_number=3,
        update_N=UPDATE_N,
        grid=Grid(UPDATE_N.size, 30),
        max_rms=10.0,
        recipients={PeerId("near"): "eu"},
        regions={"eu"},
        receipt=receipt,
    )
    assert isinstance(verdict, Denied | Permit)
    return verdict.code if isinstance(verdict, Denied) else "permit"


def test_an_update_within_the_budget_may_leave_even_if_its_data_is_private() -> None:
    assert judged(Receipt(SPENT, 3)) == "permit"
    assert judged(Receipt(replace(SPENT, epsilon=DP.epsilon), 3)) == "permit"


def test_an_update_without_a_receipt_or_over_the_budget_stays() -> None:
    assert judged(None) == "privacy_receipt_missing"
    assert judged(Receipt(replace(SPENT, epsilon=4.001), 3)) == "privacy_budget_exceeded"
    assert judged(Receipt(SPENT, 0)) == "privacy_budget_spent"


def test_a_receipt_counts_only_where_the_trainer_was_started_to_make_them() -> None:
    assert judged(Receipt(SPENT, 3), has_budget=False) == "privacy_missing"


@pytest.mark.parametrize(
    "changes",
    [
        {"unit": "sequence"},
        {"delta": 1e-5},
        {"noise_multiplier": 0.9},
        {"max_grad_norm": 1.0},
        {"epsilon": float("nan")},
        {"epsilon": -1.0},
        {"epsilon": float("inf")},
        {"steps": -1},
        {"accountant": "\x1b[2J"},
    ],
)
def test_a_receipt_for_something_else_is_none(changes: dict[str, object]) -> None:
    assert judged(Receipt(replace(SPENT, **changes), 3)) == "privacy_receipt_wrong"


def test_published_statements_are_checked_for_what_no_honest_peer_says() -> None:
    assert fault_of(SPENT) is None
    wrong: list[dict[str, object]] = [
        {"delta": 0.0},
        {"delta": 1.0},
        {"noise_multiplier": 0.0},
        {"max_grad_norm": float("nan")},
        {"steps": 2**60},
        {"accountant": "x" * (MAX_ACCOUNTANT_CHARACTERS + 1)},
    ]
    for changes in wrong:
        assert fault_of(replace(SPENT, **changes)) is not None, changes


class Believer:
    """A verifier for whom everything holds for a minute."""

    def verify(self, quote: Quote, now_s: float) -> Attested | Refused:
        return Attested("00" * 32, 60)


QUOTE = Quote("made-up", b"evidence", bytes(NONCE_BYTES))


def test_without_a_verifier_every_enclave_is_refused() -> None:
    for quote in (None, QUOTE):
        answer = attest(quote, None, 0.0)
        assert isinstance(answer, Refused) and "none is configured" in answer.reason


def test_a_verifier_is_asked_about_a_fresh_quote_only() -> None:
    assert isinstance(attest(QUOTE, Believer(), 59.0), Attested)
    assert isinstance(attest(QUOTE, Believer(), 60.0), Refused)
    assert isinstance(attest(None, Believer(), 0.0), Refused)
    assert isinstance(attest(Quote("made-up", b"", b"short"), Believer(), 0.0), Refused)
