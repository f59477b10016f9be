"""The restriction lattice: its laws, and that nothing made from data is ever bound less than the data."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.isolation.levels import LADDER
from swarm.sovereignty.labels import Label
from swarm.sovereignty.lattice import Restrictions, join_all, restrictions_of
from swarm.sovereignty.policy import Dataset
from swarm.sovereignty.uses import Privacy, Use

CODES = st.frozensets(st.sampled_from(("DE", "FR", "JP")))
RESTRICTIONS = st.builds(
    Restrictions,
    label=st.sampled_from(Label),
    residency=st.none() | CODES,
    uses=st.frozensets(st.sampled_from(Use)),
    licences=st.frozensets(st.sampled_from(("CC0-1.0", "GPL-2.0"))),
    isolation=st.sampled_from(LADDER),
    privacy=st.frozensets(st.sampled_from((Privacy.DP, Privacy.SECAGG, Privacy.ENCLAVE))),
    votes=st.booleans(),
)
DATASETS = st.builds(
    Dataset,
    name=st.just("d"),
    files=st.just(("*.txt",)),
    label=st.sampled_from(Label),
    residency=st.sampled_from(("DE", "FR")),
    licence=st.sampled_from(("CC0-1.0", "GPL-2.0")),
    language=st.just("de"),
    uses=st.sampled_from(((Use.SHARED_BASE,), (Use.EVALUATION,), tuple(Use))),
    privacy=st.sampled_from(Privacy),
    votes=st.booleans(),
)


@given(RESTRICTIONS, RESTRICTIONS, RESTRICTIONS)
def test_join_is_associative_commutative_and_idempotent(a: Restrictions, b: Restrictions, c: Restrictions) -> None:
    assert a.join(b).join(c) == a.join(b.join(c))
    assert a.join(b) == b.join(a)
    assert a.join(a) == a
    assert a.join(Restrictions()) == a, "open data without conditions binds nothing"


@given(RESTRICTIONS, RESTRICTIONS, RESTRICTIONS)
def test_join_is_monotone_and_the_least_that_binds_enough(a: Restrictions, b: Restrictions, c: Restrictions) -> None:
    assert a.join(b).is_at_least(a)
    if a.is_at_least(b):
        assert a.join(c).is_at_least(b.join(c))
        assert not b.is_at_least(a) or a == b
    if c.is_at_least(a) and c.is_at_least(b):
        assert c.is_at_least(a.join(b))


@given(RESTRICTIONS, RESTRICTIONS)
def test_an_output_allows_nothing_that_an_input_forbids(a: Restrictions, b: Restrictions) -> None:
    made = a.join(b)
    for given_one in (a, b):
        for code in ("DE", "FR", "JP", "US"):
            assert given_one.may_be_used_in(code) or not made.may_be_used_in(code)
        assert made.uses <= given_one.uses
        assert made.licences >= given_one.licences and made.privacy >= given_one.privacy
        assert made.label.tightness >= given_one.label.tightness
        assert given_one.votes or not made.votes
        assert LADDER.index(made.isolation) >= LADDER.index(given_one.isolation)


LOOSER = {
    "label": Label.OPEN,
    "residency": None,
    "uses": frozenset(Use),
    "licences": frozenset(),
    "isolation": "none",
    "privacy": frozenset(),
    "votes": True,
}


@pytest.mark.parametrize("name", [field.name for field in fields(Restrictions)])
def test_loosening_any_single_part_is_seen(name: str) -> None:
    strict = Restrictions(
        label=Label.PRIVATE,
        residency=frozenset({"DE"}),
        uses=frozenset({Use.EVALUATION}),
        licences=frozenset({"GPL-2.0"}),
        isolation="confined",
        privacy=frozenset({Privacy.DP}),
        votes=False,
    )
    loosened = replace(strict, **{name: LOOSER[name]})
    assert strict.is_at_least(loosened) and not loosened.is_at_least(strict)


@given(st.lists(DATASETS, min_size=1, max_size=4), st.sampled_from(LADDER))
def test_what_is_made_from_data_sets_is_bound_by_each(datasets: list[Dataset], isolation: str) -> None:
    made = join_all(restrictions_of(dataset, isolation) for dataset in datasets)
    for dataset in datasets:
        assert made.is_at_least(restrictions_of(dataset, isolation))
        if dataset.label in (Label.SOVEREIGN, Label.PRIVATE):
            assert not made.may_be_used_in("US")
            assert made.residency is not None and made.residency <= {dataset.residency}
        if dataset.privacy is not Privacy.LICENCE or (dataset.label is Label.PRIVATE and not dataset.votes):
            assert not made.votes
    assert made.isolation == isolation


def test_two_homes_together_are_no_home() -> None:
    german, french = (Restrictions(label=Label.SOVEREIGN, residency=frozenset({code})) for code in ("DE", "FR"))
    assert not any(german.join(french).may_be_used_in(code) for code in ("DE", "FR"))
