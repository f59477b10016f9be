"""Which value a leader has to propose again before it may make one of its own.

Paxos: of the values that its quorum of promises reports votes for, that of the highest ballot. Two exceptions, both for
values that this leader can tell were not decided, or not by those it goes on with.
"""

from collections.abc import Mapping, Set

from swarm.charter.manifest import NoFloor
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.round.acceptor import highest, may_be_decided
from swarm.round.context import Context


def to_propose_again(
    ctx: Context, votes: Mapping[PeerId, wire.Accepted], present: Set[PeerId], promised: Set[PeerId]
) -> wire.Accepted | None:
    """The vote whose value goes first, given each voter's highest; None if there is no such value.

    `present` are this leader and its guests, `promised` witnesses without a seat.
    """
    accepted = highest([vote for vote in votes.values() if not _is_void(ctx, vote.value, votes, present | promised)])
    return accepted if accepted is not None and _can_be_decided_here(ctx, accepted.value, present) else None


def _is_void(ctx: Context, value: bytes, votes: Mapping[PeerId, wire.Accepted], promised: Set[PeerId]) -> bool:
    """Whether a value of a run with quality votes cannot have been decided: then the members are asked anew.

    A leader that leaves quality votes out is left alone with its own vote (`objecting.hear_members`). Another
    one that proposed such a value again could take it past those who were not there to refuse it.
    """
    electorate = ctx.electorate
    made, _ = ctx.head.mark.read(ctx.run, value)
    if electorate.may_thin or isinstance(ctx.run_of(made).charter.quality, NoFloor):
        return False
    return not may_be_decided(value, votes, promised & electorate.voters, electorate)


def _can_be_decided_here(ctx: Context, value: bytes, present: Set[PeerId]) -> bool:
    """Whether a value that was voted for before can be decided at all; always where a quorum has promised.

    Where fewer may go on, those who voted for it may be out of reach, and who is here does not wait for them: if
    they have decided it, that is their chain.
    """
    if not ctx.electorate.may_thin:
        return True
    _, roster = ctx.head.mark.read(ctx.run, value)
    return ctx.electorate.decides(present, roster.peers)
