"""The gate's rules, one by one, and that nothing else makes a permit or widens one."""

import copy
import warnings
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.identity.peer_id import PeerId
from swarm.isolation.levels import CONFINED
from swarm.sovereignty.decisions import Decision, read_decision
from swarm.sovereignty.gate import Denied, Gate, InForce, largest_rms
from swarm.sovereignty.labels import Label
from swarm.sovereignty.lattice import Restrictions
from swarm.sovereignty.permit import PROTOCOL_KINDS, Kind, Permit
from swarm.sovereignty.privacy import Budget
from swarm.sovereignty.uses import Privacy, Use
from swarm.vector.codec import make_codec
from swarm.vector.grid import Grid

NEAR, FAR = PeerId("near"), PeerId("far")
MAX_RMS = 10.0
BUDGET = Budget(unit="sequence", epsilon=1.0, delta=1e-6, noise_multiplier=1.0, max_grad_norm=1.0)
GOOD_N = np.linspace(-1, 1, 100, dtype=np.float32)


def gate(label: Label = Label.OPEN, min_contributors: int = 1) -> Gate:
    return Gate(region="eu", label=label, min_contributors=min_contributors)


def judged(
    gate: Gate, update_N: np.ndarray = GOOD_N, *, abroad: bool = False, regions: tuple[str, ...] = ("eu",)
) -> Permit | Denied:
    """With `abroad` a recipient is in another region; `regions` are those of the whole round."""
    recipients = {NEAR: "eu"} | ({FAR: "asia"} if abroad else {})
    return gate.check_update(
        round_number=3,
        update_N=update_N,
        grid=Grid(update_N.size, 30),
        max_rms=MAX_RMS,
        recipients=recipients,
        regions={*regions, *recipients.values()},
    )


def code_of(verdict: Permit | Denied) -> str:
    return verdict.code if isinstance(verdict, Denied) else "permit"


@pytest.mark.parametrize("abroad", [False, True])
@pytest.mark.parametrize("min_contributors", [1, 3])
@pytest.mark.parametrize("label", list(Label))
def test_single_updates(label: Label, min_contributors: int, abroad: bool) -> None:
    verdict = judged(gate(label, min_contributors), abroad=abroad)
    if label is Label.PRIVATE:
        expected = "private_data"
    elif abroad and min_contributors > 1:
        expected = "single_update_would_cross"
    elif abroad and label is not Label.OPEN:
        expected = "label_forbids_crossing"
    else:
        expected = "permit"
    assert code_of(verdict) == expected
    if isinstance(verdict, Permit):
        assert verdict.covers(Kind.UPDATE, NEAR) and verdict.covers(Kind.UPDATE, FAR) == abroad
        assert not any(verdict.covers(kind, NEAR) for kind in Kind if kind is not Kind.UPDATE)


@given(
    where=st.integers(0, 99),
    bad=st.sampled_from((np.nan, np.inf, -np.inf, np.float32(2.0**101), -np.float32(3e38))),
)
def test_numbers_that_cannot_travel_do_not_leave(where: int, bad: float) -> None:
    update_N = GOOD_N.copy()
    update_N[where] = bad
    assert code_of(judged(gate(), update_N)) == "out_of_range"


def test_infinities_of_both_signs_do_not_cancel() -> None:
    update_N = GOOD_N.copy()
    update_N[3], update_N[4] = np.inf, -np.inf
    assert code_of(judged(gate(), update_N)) == "out_of_range"


@pytest.mark.parametrize("label", list(Label))
@pytest.mark.parametrize("min_contributors", [1, 3])
def test_where_a_sum_may_be_of_one_the_label_judges_every_region_of_the_round(
    label: Label, min_contributors: int
) -> None:
    """All recipients of the update itself are at home, but the sum it goes into may be of nobody else."""
    verdict = judged(gate(label, min_contributors), regions=("eu", "asia"))
    if label is Label.PRIVATE:
        assert code_of(verdict) == "private_data"
    elif label is not Label.OPEN and min_contributors == 1:
        assert code_of(verdict) == "label_forbids_crossing"
    else:
        assert isinstance(verdict, Permit) and not verdict.covers(Kind.UPDATE, FAR)


@given(scale=st.floats(0, 50), chunk=st.integers(0, 3))
def test_each_chunk_keeps_the_norm_bound_and_what_passes_can_be_encoded(scale: float, chunk: int) -> None:
    """A loud chunk is not made up for by quiet ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        update_N, grid = np.zeros(100, np.float32), Grid(100, 30)
        update_N[grid.bounds(chunk)] = np.float32(scale)
        verdict = judged(gate(), update_N)
        assert code_of(verdict) == ("permit" if np.float32(scale) <= MAX_RMS else "norm_bound")
        assert make_codec("int8", 32).encode(update_N)


def test_the_largest_root_mean_square_of_a_chunk() -> None:
    grid = Grid(5, 2)
    assert largest_rms(np.array([3, 4, 1, 1, 5], np.float32), grid) == 5.0
    assert largest_rms(np.zeros(5, np.float32), grid) == 0.0
    for bad in (np.nan, np.inf):
        assert not largest_rms(np.array([1, 1, bad, 1, 9], np.float32), grid) <= 1e30


@pytest.mark.parametrize(
    ("members", "region", "min_contributors", "expected"),
    [
        (1, "eu", 3, "permit"),
        (2, "asia", 3, "aggregate_too_small"),
        (3, "asia", 3, "permit"),
        (1, "asia", 1, "permit"),
        (1, "", 2, "aggregate_too_small"),
        (0, "asia", 3, "permit"),
    ],
)
def test_aggregates(members: int, region: str, min_contributors: int, expected: str) -> None:
    """One of nobody's updates is zeros, and withholding it would stop the round."""
    for label in Label:
        verdict = gate(label, min_contributors).check_aggregate(members=members, recipient=FAR, recipient_region=region)
        assert code_of(verdict) == expected
        if isinstance(verdict, Permit):
            assert verdict.covers(Kind.RESULT, FAR)
            assert not verdict.covers(Kind.RESULT, NEAR) and not verdict.covers(Kind.UPDATE, FAR)


def test_the_standing_permit_is_for_protocol_frames_to_anyone() -> None:
    for label in Label:
        standing = gate(label).standing
        for kind in Kind:
            assert standing.covers(kind, FAR) == (kind in PROTOCOL_KINDS)
    assert not PROTOCOL_KINDS & {Kind.UPDATE, Kind.RESULT}


def test_a_permit_is_made_by_the_gate_alone() -> None:
    for token in (None, object(), "token"):
        with pytest.raises(TypeError, match="nowhere else"):
            Permit(token, "mine", frozenset(Kind), None)


def test_a_permit_cannot_be_widened() -> None:
    permit = gate().standing
    for field, value in (("kinds", frozenset(Kind)), ("peers", None), ("id", "mine")):
        with pytest.raises(FrozenInstanceError):
            setattr(permit, field, value)
    with pytest.raises((TypeError, ValueError)):
        replace(permit, kinds=frozenset(Kind))
    assert copy.copy(permit).kinds == permit.kinds


def test_a_denial_is_for_people_too() -> None:
    verdict = judged(gate(Label.SOVEREIGN, 1), abroad=True)
    assert isinstance(verdict, Denied)
    assert "sovereign" in verdict.reason and "eu" in verdict.reason


def test_an_update_under_a_licence_that_the_charter_in_force_does_not_accept_stays() -> None:
    bound = Restrictions(licences=frozenset({"CC-BY-NC-4.0"}))
    made = Gate(region="eu", label=Label.OPEN, min_contributors=1, policy=InForce("ab", bound))
    assert code_of(judged(made)) == "permit"
    made.follow(min_contributors=1, licences=("CC0-1.0",))  # an amendment has named licences
    denied = judged(made)
    assert isinstance(denied, Denied) and denied.code == "licence_not_accepted"
    assert "CC-BY-NC-4.0" in denied.reason and "CC0-1.0" in denied.reason
    made.follow(min_contributors=1, licences=("CC0-1.0", "CC-BY-NC-4.0"))
    assert code_of(judged(made)) == "permit"


@pytest.mark.parametrize("label", list(Label))
def test_a_verdict_leaves_as_one_bit_and_with_a_figure_for_open_data_only(label: Label) -> None:
    decided: list[Decision] = []
    bound = Restrictions(label=label)
    made = Gate(region="eu", label=Label.PRIVATE, min_contributors=3, held_out=bound, decided=decided.append)
    verdict = made.check_verdict(round_number=4)
    assert isinstance(verdict, Permit) and verdict.covers(Kind.VERDICT, FAR)
    assert not any(verdict.covers(kind, FAR) for kind in Kind if kind is not Kind.VERDICT)
    assert not made.standing.covers(Kind.VERDICT, FAR), "no verdict without the gate's own word on it"
    tells = label is Label.OPEN
    assert made.may_tell_change == tells
    assert [(each.verdict, each.subject, each.round, each.code) for each in decided] == [
        ("permit", "verdict", 4, "allowed" if tells else "verdict_only")
    ]
    assert read_decision(decided[0].line) is not None


@pytest.mark.parametrize(
    ("bound", "code"),
    [
        (Restrictions(label=Label.PRIVATE, votes=False), "private_data"),
        (Restrictions(privacy=frozenset({Privacy.DP})), "privacy_missing"),
        (Restrictions(privacy=frozenset({Privacy.SECAGG})), "privacy_missing"),
        (Restrictions(uses=frozenset({Use.SHARED_BASE})), "purpose_mismatch"),
    ],
)
def test_no_verdict_leaves_on_data_that_is_private_protected_or_for_something_else(
    bound: Restrictions, code: str
) -> None:
    decided: list[Decision] = []
    made = Gate(region="eu", label=Label.OPEN, min_contributors=1, held_out=bound, decided=decided.append)
    assert code_of(made.check_verdict(round_number=2)) == code
    assert [(each.verdict, each.subject, each.code) for each in decided] == [("denied", "verdict", code)]


def test_a_trainer_less_isolated_than_held_out_data_demands_gives_no_verdict() -> None:
    made = gate()
    made._held_out = Restrictions(isolation=CONFINED)
    assert code_of(made.check_verdict(round_number=1)) == "isolation_too_low"
    made.isolated(CONFINED)
    assert code_of(made.check_verdict(round_number=1)) == "permit"


def test_what_is_trained_on_binds_the_verdict_where_nothing_else_is_held_out() -> None:
    for label in Label:
        assert gate(label).may_tell_change == (label is Label.OPEN)
        expected = "private_data" if label is Label.PRIVATE else "permit"
        assert code_of(gate(label).check_verdict(round_number=1)) == expected
    charged = Gate(region="eu", label=Label.OPEN, min_contributors=1, budget=BUDGET)
    assert not charged.may_tell_change and code_of(charged.check_verdict(round_number=1)) == "privacy_missing"
