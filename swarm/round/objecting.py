"""An elector's say in the quality stage: it hears the members itself, and votes for no value that leaves them out.

It objects to a value

    of a base that its leader has not put to it, though it is in the roster
    whose outcome would be the other one with the votes that it was told itself
    that it has objected to before

An objection stands against whoever proposes the value, for as many attempts as `heard.stands` says: it may have been
decided by others, and then it must not be held up for ever. What this peer has voted for it does not judge again.
"""

from swarm.charter.manifest import NoFloor
from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.net import wire
from swarm.round.context import Context
from swarm.round.heard import stands
from swarm.state.records import Value, value_digest
from swarm.state.roster import Roster

_ON_ITS_WAY = 0.5
"""Of the charter's least deadline."""


async def hear_members(ctx: Context, ballot: wire.Ballot, asked_s: float, encoded: bytes) -> None:
    """Waits for the members whose vote a fresh value does not have, and counts again.

    They are given the charter's least deadline since `asked_s`, as every leader gives it to them; and for a word that
    is on its way a part of it, since the proposal came from one peer and the word from another.

    Raises:
        ProtocolError: this peer votes for no such value.
    """
    value, roster = ctx.head.mark.read(ctx.run, encoded)
    charter = ctx.run_of(value).charter
    if roster.ballot == ballot and not isinstance(charter.quality, NoFloor):
        floor_s = charter.deadlines.floor_s
        until_s = max(asked_s + floor_s, monotonic_s() + _ON_ITS_WAY * floor_s)
        while ctx.heard.unheard(roster, value) and (left_s := until_s - monotonic_s()) > 0:
            await ctx.seats.changed.wait_within(left_s)
    reason = objection(ctx, ballot, encoded)
    if reason is not None:
        ctx.heard.objected.add(value_digest(encoded))
        raise ProtocolError(reason)


def objection(ctx: Context, ballot: wire.Ballot, encoded: bytes) -> str | None:
    """Why this peer would not vote for a value in a ballot; None if it would."""
    value, roster = ctx.head.mark.read(ctx.run, encoded)
    accepted = ctx.acceptor.accepted_in(ctx.round)
    is_voted = accepted is not None and accepted.value == encoded
    if isinstance(ctx.run_of(value).charter.quality, NoFloor) or is_voted or not stands(roster.ballot, ballot):
        return None
    return _fault(ctx, ballot, value, roster, value_digest(encoded))


def _fault(ctx: Context, ballot: wire.Ballot, value: Value, roster: Roster, digest: bytes) -> str | None:
    is_its_own = roster.ballot.leader == ballot.leader
    if is_its_own and ctx.me in roster.index and not ctx.heard.was_put(value):
        return "a proposal of a base that its leader has not put to the members"
    left_out = ctx.heard.left_out(ctx.run_of(value), roster, value)
    if left_out:
        return f"a proposal whose outcome would be the other one with the votes of {', '.join(left_out)}"
    return "a proposal that this peer has objected to before" if digest in ctx.heard.objected else None
