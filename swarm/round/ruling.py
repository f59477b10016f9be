"""Amendments and revocations at one peer: what is handed in, what is in force for the open round, who is out by it.

Documents count from the next group on: a group that has its roster ends under the rules it began with. While none is
under way they count at once, and an attempt that is still forming begins again under them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swarm import events
from swarm.charter.epochs import GENESIS_RULES
from swarm.charter.holdings import in_force_for
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.transport import StreamLostError
from swarm.state.records import carried_documents
from swarm.state.roster import is_still_admitted

if TYPE_CHECKING:
    from swarm.round.context import Context

_ASK_LIMIT_S = 3.0


def told_documents(ctx: "Context", documents: Sequence[bytes]) -> list[bytes]:
    """Somebody hands over amendments and revocations; those that are good and new."""
    taken = ctx.shelf.take(ctx.head.rules, documents)
    if taken:
        ctx.in_background(ctx.shelf.save(taken))
        if not ctx.is_in_group:
            adopt_rules(ctx)
        ctx.news.changed.fire()
    return taken


def read_documents(ctx: "Context") -> None:
    """Takes what was put into the state folder, and tells everybody. Raises StateError."""
    taken = told_documents(ctx, ctx.store.load_documents())
    if taken:
        others = {*ctx.electorate.voters, *ctx.announced(), *ctx.seeds} - {ctx.me}
        ctx.in_background(ctx.push(sorted(others), wire.PushDocuments(tuple(taken))))


async def ask_documents(ctx: "Context", peer: PeerId) -> None:
    """Gets what a peer holds that goes by other rules."""
    try:
        answer = await ctx.caller.ask(
            peer, wire.GetDocuments(), wire.DocumentsAre, wire.MAX_CONTROL_BYTES, _ASK_LIMIT_S
        )
        told_documents(ctx, answer.documents)
    except (StreamLostError, ProtocolError):
        return  # the next one to name other rules is asked again


def adopt_rules(ctx: "Context") -> None:
    """Puts in force what is held and governs the open round; joins made under other rules are sent back."""
    _hold_carried(ctx)
    rules, ctx.brings = in_force_for(ctx.head.rules, ctx.shelf.held, ctx.round)
    before, ctx.run = ctx.run, ctx.run.under(rules)
    ctx.outlaws = _outlaws(ctx)
    if before.rules.in_force == rules.in_force:
        return
    ctx.book.rule = rules.charter.deadlines
    ctx.ruled(ctx.run)
    ctx.seats.send_home(rules.in_force, wire.DocumentsAre(ctx.shelf.held))
    ctx.sink(events.RulesInForce(round=ctx.round, epoch=rules.epoch, revocations=len(rules.revoked.entries)))


def _hold_carried(ctx: "Context") -> None:
    """Keeps the documents on record: newcomers ask for them before they can ask for records."""
    since = ctx.head.rules.since
    if since != ctx.shelf.carried_since:
        ctx.shelf.carried_since = since
        new = ctx.shelf.hold(carried_documents(ctx.store.load_record, since))
        if new:
            ctx.in_background(ctx.shelf.save(new))


def _outlaws(ctx: "Context") -> frozenset[PeerId]:
    """Whoever has a seat on the last record and a passport that is refused by now, and announces no other one."""
    last = ctx.archive.committed(ctx.head.round)
    if last is None:
        return frozenset()
    now_s = ctx.wall_clock()
    refused = {seat.peer for seat in last.roster.seats if seat.expires_s <= now_s}
    if ctx.run.rules.in_force != GENESIS_RULES:
        joins = wire.decode(last.value.roster.payload, wire.Roster).joins
        refused |= {sealed.author for sealed in joins if not is_still_admitted(sealed, ctx.run)}
    return frozenset(refused - ctx.announced().keys())
