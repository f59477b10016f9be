"""A founders' restart at this peer: the electorate of the open round is replaced, everybody is told, votes stay.

Attempts begin anew in the next term. What this peer has voted for in the open round before is in its joins as ever, so
whatever may have been decided by those that are gone is proposed again (swarm.round.acceptor).
"""

from dataclasses import replace

from swarm import events
from swarm.net import wire
from swarm.round.context import Context
from swarm.state.chain import encode_restarts, is_named
from swarm.state.restarts import read_restarts


async def take_restart(ctx: Context) -> bool:
    """Puts the restart that was told in force, if it names this peer's head; False if it names another record."""
    documents = ctx.news.restarts
    newest = read_restarts(documents, ctx.run)
    if newest.term <= ctx.electorate.term:
        ctx.news.restarts = ()  # a record has brought it meanwhile
        return True
    if not is_named(ctx.run, documents, ctx.head.mark):
        return False
    mark = ctx.head.mark.restarted(ctx.run, documents)
    await ctx.store.save_restarts(encode_restarts(mark.electorate.restarts))
    ctx.head = replace(ctx.head, electorate=mark.electorate)
    ctx.news.restarts = ()
    ctx.begin_round()
    ctx.seats.clear_before(ctx.round + 1, 0)
    ctx.sink(
        events.Restarted(
            term=newest.term,
            round=newest.round,
            voters=len(mark.electorate.voters),
            is_elector=ctx.me in mark.electorate.peers,
        )
    )
    others = (mark.electorate.voters | ctx.announced().keys()) - {ctx.me}
    ctx.in_background(ctx.push(sorted(others), wire.PushRestarts(mark.electorate.restarts)))
    return True
