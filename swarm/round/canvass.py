"""A leader's questions to a witness: promise, vote. The witness follows the chain of records, and is helped to.

A witness that missed records is given them and asked again; one that is past the leader's round gives the leader the
record it has missed.
"""

from typing import TypeVar

from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.round.context import SHORT_CALL_S, Context
from swarm.state.chain import load_restarts

A = TypeVar("A", wire.PromiseIs, wire.CastVote)


async def ask_promise(ctx: Context, witness: PeerId, ballot: wire.Ballot) -> wire.Promise | None:
    """The promise of a witness, checked; None if the round is over.

    Raises:
        StreamLostError: no answer in time.
        ProtocolError: a refusal, or something else than was asked for.
    """
    # Also those that a record has brought since: a witness that was away may be on what they took back.
    restarts = ctx.electorate.restarts or load_restarts(ctx.store)
    if restarts:
        await ctx.push([witness], wire.PushRestarts(restarts))
    answer = await _ask(ctx, witness, wire.Prepare(ctx.round, ballot), wire.PromiseIs)
    if answer is None:
        return None
    promise = wire.unseal(answer.promise, wire.Promise)
    is_right = (promise.run_id, promise.round, promise.ballot) == (ctx.run.id, ctx.round, ballot)
    if answer.promise.author != witness or not is_right:
        raise ProtocolError("a promise that is not what this witness was asked for")
    ctx.check_accepted(ballot, promise.accepted)
    return promise


async def ask_vote(ctx: Context, witness: PeerId, question: wire.AskVote, wanted: wire.Vote) -> wire.Sealed | None:
    """The vote of a witness, checked; None if the round is over. Raises like `ask_promise`."""
    answer = await _ask(ctx, witness, question, wire.CastVote)
    if answer is None:
        return None
    if answer.vote.author != witness or wire.unseal(answer.vote, wire.Vote) != wanted:
        raise ProtocolError("a vote that is not what this witness was asked for")
    return answer.vote


async def _ask(ctx: Context, witness: PeerId, question: wire.Frame, expected: type[A]) -> A | None:
    given = 0
    while True:
        answer: A | wire.NeedRecords | wire.RecordIs = await ctx.caller.ask(
            witness, question, expected | wire.NeedRecords | wire.RecordIs, wire.MAX_CONTROL_BYTES, SHORT_CALL_S
        )
        match answer:
            case wire.NeedRecords(first):
                if not given < first < ctx.round:
                    raise ProtocolError("a witness that does not take the records it asks for")
                given = first
                await _give_records(ctx, witness, first)
            case wire.RecordIs(record):
                ctx.told_record(record)
                return None
            case _:
                return answer


async def _give_records(ctx: Context, witness: PeerId, first: int) -> None:
    """Pushes the records from `first` to this peer's head, in order."""
    for round_number in range(first, ctx.round):
        record = ctx.store.load_record(round_number)
        if record is None:
            return
        await ctx.push([witness], wire.PushRecord(record))
