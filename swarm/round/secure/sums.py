"""Where a round meets its secure sums: who is in them under a roster, and what a value must say of them."""

from collections.abc import Sequence

from swarm import events
from swarm.charter.rules import SECURE_MEMBERS
from swarm.errors import ProtocolError
from swarm.round.context import Context
from swarm.round.outcome import Offer
from swarm.round.plan import Plan
from swarm.round.secure.circles import Circles, circles_of, members_in
from swarm.round.secure.stage import Stage
from swarm.sovereignty.reasons import Reason
from swarm.state.records import Value
from swarm.state.roster import Roster
from swarm.state.run import Run
from swarm.vector.grid import Vector
from swarm.vector.secure_codes import pack_ranges


class SumsOf:
    """The secure sums of one roster, as this peer begins its part in them."""

    def __init__(self, ctx: Context, roster: Roster, plan: Plan) -> None:
        """Raises ProtocolError if there can be none."""
        self.ctx = ctx
        self._roster = roster
        self._plan = plan
        self._seat = roster.index[ctx.me]
        self._secrets = ctx.masks.take(roster.ballot)
        self._ranges_K = _ranges(ctx)
        self.circles: Circles = circles_of(ctx.run, roster, plan, self._ranges_K)

    def takes(self, offer: Offer) -> bool:
        """Whether this peer's update goes into one; if its region is too small for that, it says so and is kept."""
        if not self._roster.seats[self._seat].contributes or offer.is_spent or self._secrets is None:
            return False
        if self._seat not in self.circles.givers:
            reason = f"fewer than {SECURE_MEMBERS} members near this peer take part: no sum would hide its update"
            denied = self.ctx.gate.withhold(Reason.NOT_MASKED, reason, round_number=self._roster.round)
            self.ctx.sink(
                events.UpdateDenied(
                    round=self._roster.round, code=denied.code, reason=denied.reason, policy=denied.policy
                )
            )
            return False
        return True

    @property
    def masked_among(self) -> int:
        """Distinct members of this peer's circle."""
        return members_in(self._roster, self.circles.summed_by(self._plan.neighbours(self._seat)))

    def stage(self, offer: Offer | None) -> Stage:
        """The driver of this attempt's sums. `offer` is what this peer gives to them."""
        ctx = self.ctx

        async def spend() -> None:
            assert offer is not None, "who gives nothing reveals nothing"
            offer.is_spent = True
            await ctx.masks.spend(ctx.round)

        return Stage(
            run=ctx.run,
            roster=self._roster,
            plan=self._plan,
            seat=self._seat,
            circles=self.circles,
            ranges_K=self._ranges_K,
            secrets=None if offer is None else self._secrets,
            seal=ctx.seal,
            spend=spend,
            sink=ctx.sink,
        )


def current_ranges(ctx: Context) -> bytes:
    """What the open round goes by, as a value that leaves the base as it was says it again."""
    return b"" if ctx.run.secure is None else pack_ranges(_ranges(ctx))


def check_counted(ctx: Context, run: Run, roster: Roster, contributors: Sequence[bytes]) -> None:
    """Refuses contributors that are not exactly the givers of a roster's secure sums, under the rules of `run`.

    Raises:
        ProtocolError: others were counted.
    """
    if run.secure is None:
        return
    plan = Plan(roster, run.grid.chunks, run.charter.reduce.levels, run.least_members)
    givers = circles_of(run, roster, plan, _ranges(ctx)).givers
    if set(contributors) != {roster.bitmap(givers)}:
        raise ProtocolError("chunks that are not the sums of all that gave to a secure sum")


def check_sums(ctx: Context, run: Run, value: Value, roster: Roster) -> None:
    """Refuses a value that says anything else of its secure sums than follows. Raises ProtocolError."""
    check_counted(ctx, run, roster, value.contributors)
    if value.is_rejected and value.ranges != current_ranges(ctx):
        raise ProtocolError("a rejected round that changes the ranges of secure sums")


def _ranges(ctx: Context) -> Vector:
    ranges_K = ctx.masks.ranges(ctx.run, ctx.round)
    if ranges_K is None:
        raise ProtocolError("this peer does not know the ranges that follow from the last round")
    return ranges_K
