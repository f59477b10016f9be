"""Integer weights of a round: what peers claim, capped per member by water-filling.

Pure and exact: rational arithmetic only, so every peer computes the same integers from the same roster.
Whether claims are tokens or all 1 (`uniform`) is the caller's choice; with all 1, several peers of one member
still share its cap.

Water-filling finds the level L = cap * sum(min(total, L)): members whose claims total more are lowered to L,
the others keep their claims. Lowering only one heavy member would leave it above the cap of the now smaller
sum; the level takes that into account, so nothing is renormalised afterwards.

Kept: the order of member totals, the order of peers inside a member, and equal weights for equal claims of
one member.
"""

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

_Number = TypeVar("_Number", int, Fraction)

MAX_WEIGHT = 2**20
"""Largest weight; every weight is at least 1. Exact as a float32."""


def capped_weights(claims: Sequence[int], members: Sequence[str], cap: Fraction) -> tuple[int, ...]:
    """The weight of every peer, such that no member's total share exceeds `cap`.

    `claims[i]` and `members[i]` belong to peer i; a claim below 1 counts as 1. Claims that need no change are
    returned as they are.

    Raises:
        ValueError: distinct members x cap < 1, so that no weights obey the cap; or far too many peers for
        integers up to
            `MAX_WEIGHT` to obey it.
    """
    if len(claims) != len(members) or not claims:
        raise ValueError(f"{len(claims)} claims do not match {len(members)} members")
    distinct = len(set(members))
    if not (0 < cap <= 1 and distinct * cap >= 1):
        raise ValueError(
            f"{distinct} members cannot each keep to a share of {cap}; a cap is never undone by renormalising"
        )
    positive = [Fraction(max(1, claim)) for claim in claims]
    filled = _filled(positive, members, cap)
    if filled == positive and max(positive) <= MAX_WEIGHT:
        return tuple(int(weight) for weight in filled)

    exact = _as_integers(filled)
    if exact is not None:
        return exact
    highest = max(filled)
    scaled = [max(1, int(weight * MAX_WEIGHT / highest)) for weight in filled]
    rounded = _rounded(scaled, members, cap)
    if rounded is not None:
        return rounded
    # So little room under the cap that only an exact solution fits: coarser claims have one in smaller
    # integers.
    for shift in range(1, MAX_WEIGHT.bit_length()):
        coarse = [Fraction(max(1, weight >> shift)) for weight in scaled]
        exact = _as_integers(_filled(coarse, members, cap))
        if exact is not None:
            return exact
    raise ValueError(f"no weights up to {MAX_WEIGHT} keep {len(claims)} peers of {distinct} members below {cap}")


def _filled(claims: Sequence[Fraction], members: Sequence[str], cap: Fraction) -> list[Fraction]:
    """The exact water-filling; capped members divide their level in proportion to their peers' claims."""
    totals = _totals(claims, members)
    uncapped = sum(totals.values(), Fraction(0))
    level = uncapped
    for capped, total in enumerate(sorted(totals.values(), reverse=True)):
        # never a division by zero: a member above the level implies room for one more cap (n * cap >= 1)
        level = cap * uncapped / (1 - capped * cap)
        if total <= level:
            break
        uncapped -= total
    return [
        claim if totals[member] <= level else claim * level / totals[member]
        for claim, member in zip(claims, members, strict=True)
    ]


def _as_integers(weights: Sequence[Fraction]) -> tuple[int, ...] | None:
    """The smallest integers in exactly these proportions, or None if one of them is above `MAX_WEIGHT`."""
    scale = math.lcm(*(weight.denominator for weight in weights))
    integers = [int(weight * scale) for weight in weights]
    divisor = math.gcd(*integers)
    if max(integers) > MAX_WEIGHT * divisor:
        return None
    return tuple(integer // divisor for integer in integers)


def _rounded(claims: Sequence[int], members: Sequence[str], cap: Fraction) -> tuple[int, ...] | None:
    """Water-filling in integers, or None if rounding finds no room under the cap.

    Dividing an integer level over p peers, rounding down, loses at most p - 1; that loss is reserved in
    advance.
    """
    totals = _totals(claims, members)
    peers = Counter(members)
    uncapped, reserve = sum(totals.values()), 0
    level = uncapped
    # By total, then the member with more peers first: the order among equals must not depend on the roster's
    # order.
    by_total = sorted(totals, key=lambda member: (totals[member], peers[member]), reverse=True)
    for capped, member in enumerate(by_total):
        room = 1 - capped * cap
        if room <= 0:
            return None
        level = math.floor(cap * (uncapped - reserve) / room)
        if totals[member] <= level:
            break
        uncapped -= totals[member]
        reserve += peers[member] - 1
    else:
        return None
    if any(peers[member] > level for member in totals if totals[member] > level):
        return None
    return tuple(
        # 1 for everybody, the rest in proportion
        claim if totals[member] <= level else 1 + claim * (level - peers[member]) // totals[member]
        for claim, member in zip(claims, members, strict=True)
    )


def _totals(claims: Sequence[_Number], members: Sequence[str]) -> dict[str, _Number]:
    """Sum of the claims of each member."""
    totals: dict[str, _Number] = {}
    for claim, member in zip(claims, members, strict=True):
        totals[member] = totals[member] + claim if member in totals else claim
    return totals
