"""What differential privacy has cost a peer's data so far, stated and judged: receipts, budgets, published statements.

A trainer under `privacy = "dp"` hands a receipt over with every update; the gate lets no update out without a good one.
A receipt is the trainer's own word: that the noise was added is checked by nobody. Nothing is computed here
(`peers/privacy`), and nothing says what an epsilon is worth.
"""

import math
from typing import Literal

import msgspec

from swarm.sovereignty.policy import DpRules
from swarm.sovereignty.reasons import Reason

MAX_ACCOUNTANT_CHARACTERS = 64
MAX_STEPS = 2**48
Unit = Literal["sequence", "document"]


class Spent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The guarantee for one unit of a peer's data, over everything that peer has trained in this run; published."""

    unit: Unit
    """What one record is, by whose absence nothing would have changed much."""
    epsilon: float
    """Cumulative, for all of `steps`."""
    delta: float
    noise_multiplier: float
    max_grad_norm: float
    steps: int
    """Ever made, those of updates that were dropped included; batches by Poisson sampling."""
    accountant: str
    """Which analysis `epsilon` is from."""


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a trainer says of an update it hands over."""

    spent: Spent
    update_steps: int
    """Steps in this very update; 0 once the budget is spent."""


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the policy's `[dp]` table and the charter's delta demand of every receipt."""

    unit: Unit
    epsilon: float
    delta: float
    noise_multiplier: float
    max_grad_norm: float


def budget_of(rules: DpRules, delta: float) -> Budget:
    """The budget under a policy's `[dp]` table in a run with this delta."""
    return Budget(
        unit=rules.unit,
        epsilon=rules.epsilon,
        delta=delta,
        noise_multiplier=rules.noise_multiplier,
        max_grad_norm=rules.max_grad_norm,
    )


def judge(receipt: Receipt | None, budget: Budget) -> tuple[Reason, str] | None:
    """Why an update with this receipt may not leave; None if it may."""
    if receipt is None:
        return Reason.PRIVACY_RECEIPT_MISSING, "the update came without a receipt for the privacy it has cost"
    spent = receipt.spent
    if fault_of(spent) is not None:
        return Reason.PRIVACY_RECEIPT_WRONG, f"the update's privacy receipt is none: {fault_of(spent)}"
    said = (spent.unit, spent.delta, spent.noise_multiplier, spent.max_grad_norm)
    asked = (budget.unit, budget.delta, budget.noise_multiplier, budget.max_grad_norm)
    if said != asked:
        return Reason.PRIVACY_RECEIPT_WRONG, f"the update's receipt is for {said}, policy and charter ask for {asked}"
    if spent.epsilon > budget.epsilon:
        return (
            Reason.PRIVACY_BUDGET_EXCEEDED,
            f"the update would bring epsilon to {spent.epsilon:.4g}, the policy's budget is {budget.epsilon:g}",
        )
    if receipt.update_steps == 0:
        return (
            Reason.PRIVACY_BUDGET_SPENT,
            f"the privacy budget is spent (epsilon {spent.epsilon:.4g} of {budget.epsilon:g}): this peer only receives",
        )
    return None


def fault_of(spent: Spent) -> str | None:
    """What no honest statement has: a number out of range, or an accountant's name that no screen should show."""
    if not (math.isfinite(spent.epsilon) and spent.epsilon >= 0):
        return "epsilon is no number from 0 on"
    if not 0 < spent.delta < 1:
        return "delta is not between 0 and 1"
    if not all(math.isfinite(value) and value > 0 for value in (spent.noise_multiplier, spent.max_grad_norm)):
        return "noise and clipping norm are not above 0"
    if not 0 <= spent.steps <= MAX_STEPS:
        return "an impossible number of steps"
    if not spent.accountant.isprintable() or len(spent.accountant) > MAX_ACCOUNTANT_CHARACTERS:
        return "the accountant's name is too long or not printable"
    return None
