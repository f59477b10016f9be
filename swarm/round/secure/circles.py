"""Who masks with whom under one roster. Pure: all members compute the same, or refuse it for the same reason.

A *circle* is a set of peers whose pairwise masks cancel in the sum of their parts: the givers of one group of peers
(a region, or a cohort of it), or all givers of the roster where the charter masks across regions. A circle holds at
least three distinct members: in the sum of two, each sees the other. Whoever is in none gives nothing in this round.
All circles of a roster end together: nobody reveals a self-mask before every giver of every circle is ready to.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from swarm.charter.rules import SECURE_MEMBERS
from swarm.errors import ProtocolError
from swarm.round.plan import Plan
from swarm.state.roster import Roster
from swarm.state.run import Run
from swarm.vector.grid import Vector
from swarm.vector.masks import group_id
from swarm.vector.secure_codes import pack_ranges


@dataclass(frozen=True)
class Circles:
    """The circles of one roster, by seat."""

    group: bytes
    """Names this attempt's secure sum: run, round, roster and ranges. All keys are bound to it."""
    all: tuple[frozenset[int], ...]
    is_across: bool
    """Whether there is one circle for the whole roster, so that sums are still masked where they cross a border."""

    @cached_property
    def givers(self) -> frozenset[int]:
        """Seats whose updates are in the sums: every chunk of a committed round holds exactly these."""
        return frozenset().union(*self.all)

    def summed_by(self, near: Iterable[int]) -> frozenset[int]:
        """The circle whose parts the owners among these neighbours sum; empty if they give nothing."""
        around = frozenset(near)
        return next((circle for circle in self.all if self.is_across or circle <= around), frozenset())


def circles_of(run: Run, roster: Roster, plan: Plan, ranges_K: Vector) -> Circles:
    """The circles of a roster.

    Raises:
        ProtocolError: no circle has enough members, or the weights of one do not fit into 16 bits.
    """
    rule = run.secure
    assert rule is not None
    contributing = frozenset(number for number, seat in enumerate(roster.seats) if seat.contributes)
    found = [group & contributing for group in plan.summing_groups]
    if rule.across_regions:
        found = [frozenset[int]().union(*found)]
    least = max(SECURE_MEMBERS, run.least_members if rule.across_regions else 1)
    enough = [circle for circle in found if members_in(roster, circle) >= least]
    if not rule.across_regions:
        enough = [circle for circle in enough if _may_cross(roster, circle, enough, run.least_members)]
    if not enough:
        raise ProtocolError(
            f"a secure sum takes updates of {least} distinct members at least, and this roster has them "
            + ("nowhere" if rule.across_regions else "in no region")
        )
    for circle in enough:
        weight = sum(roster.weights[seat] for seat in circle)
        if not run.secure_codes.fits(weight):
            raise ProtocolError(
                f"weights of {weight} together at {rule.bits} bits do not fit into the 16 bits of a secure sum"
            )
    group = group_id(run.id, roster.round, roster.digest, pack_ranges(ranges_K))
    return Circles(group, tuple(sorted(enough, key=min)), rule.across_regions)


def members_in(roster: Roster, seats: Iterable[int]) -> int:
    """Distinct members."""
    return len({roster.seats[seat].member for seat in seats})


def _may_cross(roster: Roster, circle: frozenset[int], circles: list[frozenset[int]], least: int) -> bool:
    """Whether the region of a circle gives enough for its sum to cross a border."""
    region = roster.seats[min(circle)].region
    givers = [seat for each in circles for seat in each if roster.seats[seat].region == region]
    return members_in(roster, givers) >= least
