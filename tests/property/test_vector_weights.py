"""Properties of capped weights, in exact arithmetic."""

from collections import Counter
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from swarm.vector.weights import MAX_WEIGHT, capped_weights

Case = tuple[list[int], list[str], Fraction]

claims_of = st.integers(1, 9) | st.integers(1, 10**7) | st.integers(0, 2**70)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Claims, members and a cap that these members can obey, often only just."""
    members = draw(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=14))
    claims = draw(st.lists(claims_of, min_size=len(members), max_size=len(members)))
    least = Fraction(1, len(set(members)))
    caps = st.fractions(least, 1, max_denominator=100) if least < 1 else st.just(least)
    return claims, members, draw(st.just(least) | caps)


def shares(weights: tuple[int, ...] | list[int], members: list[str]) -> dict[str, Fraction]:
    totals: Counter[str] = Counter()
    for weight, member in zip(weights, members, strict=True):
        totals[member] += weight
    return {member: Fraction(total, sum(weights)) for member, total in totals.items()}


@given(case=cases())
def test_the_cap_is_never_exceeded_and_weights_are_in_range(case: Case) -> None:
    claims, members, cap = case
    weights = capped_weights(claims, members, cap)
    assert all(1 <= weight <= MAX_WEIGHT for weight in weights)
    assert max(shares(weights, members).values()) <= cap


@given(case=cases(), data=st.data())
def test_permuting_peers_permutes_weights(case: Case, data: st.DataObject) -> None:
    claims, members, cap = case
    order = data.draw(st.permutations(range(len(claims))))
    weights = capped_weights(claims, members, cap)
    permuted = capped_weights([claims[i] for i in order], [members[i] for i in order], cap)
    assert permuted == tuple(weights[i] for i in order)


@given(case=cases())
def test_nothing_changes_when_no_one_exceeds_the_cap(case: Case) -> None:
    claims, members, cap = case
    claims = [min(max(1, claim), MAX_WEIGHT) for claim in claims]
    if max(shares(claims, members).values()) <= cap:
        assert capped_weights(claims, members, cap) == tuple(claims)


@given(case=cases())
def test_order_inside_a_member_is_kept(case: Case) -> None:
    claims, members, cap = case
    weights = capped_weights(claims, members, cap)
    for i, member in enumerate(members):
        for j, other in enumerate(members):
            if member == other and max(1, claims[i]) <= max(1, claims[j]):
                assert weights[i] <= weights[j]


@given(claims=st.lists(st.integers(1, 10**6), min_size=2, max_size=8), percent=st.integers(50, 100))
def test_claiming_more_never_lowers_a_member_beyond_rounding(claims: list[int], percent: int) -> None:
    members = [str(i) for i in range(len(claims))]
    cap = Fraction(percent, 100)
    before = shares(capped_weights(claims, members, cap), members)["0"]
    after = shares(capped_weights([claims[0] * 2, *claims[1:]], members, cap), members)["0"]
    assert after >= before - Fraction(len(claims), 10**5)
