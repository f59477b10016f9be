"""Going over to another chain: back to the record that founders restart from, or to a better one after a partition.

What is gone over to is verified and brought here first, beside what this peer has. Then its promises on the old chain
end, the old chain's records and snapshots are set aside from the newest down, and the new ones are written: a crash in
between leaves a shorter chain of its own, from which the rest is caught up as ever.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from swarm import events
from swarm.errors import NetworkError, ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.calls import Caller
from swarm.net.transport import StreamLostError
from swarm.round.context import SHORT_CALL_S, Context
from swarm.state.catchup import CatchUp
from swarm.state.chain import Mark, encode_restarts, kept_mark
from swarm.state.checkpoints import Checkpoints
from swarm.state.electorate import few_of
from swarm.state.forks import Fork, find_fork
from swarm.state.head import Head
from swarm.state.partial import Partials
from swarm.state.restarts import read_restarts
from swarm.state.resume import resume
from swarm.state.store import KEPT_ROUNDS, MemoryStore

COMPARE_EVERY_S = 2.0
_COMPARED_AT_ONCE = 2
"""Strangers asked where they stand each time, others every time."""


@dataclass
class Chains:
    """One peer's way between chains."""

    ctx: Context
    caller: Caller
    partials: Partials
    checkpoints: Checkpoints
    sink: Callable[[events.AnyEvent], None]

    @property
    def may_part(self) -> bool:
        """Whether chains part by themselves in this run; where a majority decides, only founders part them."""
        return self.ctx.run.charter.quorum.kind == "available"

    # --- looking ------------------------------------------------------------------------------------------------------

    async def keep_comparing(self) -> None:
        """Asks peers that are not in the electorate where they stand: whoever was cut off is not in it.

        On an island electors are asked as well: the first that answers says where the swarm has got to.
        """
        ctx, look = self.ctx, 0
        while True:
            await asyncio.sleep(COMPARE_EVERY_S)
            look += 1
            missing = ctx.electorate.peers & ctx.island.silent if ctx.island.is_said else frozenset[PeerId]()
            strangers = ctx.announced().keys() - ctx.electorate.peers
            chosen = few_of(sorted((strangers | missing) - {ctx.me}), _COMPARED_AT_ONCE, f"{ctx.me}/{look}")
            await asyncio.gather(*(self._compare(peer) for peer in chosen))

    async def _compare(self, peer: PeerId) -> None:
        ctx = self.ctx
        try:
            status = await ctx.caller.ask(peer, wire.GetStatus(), wire.Status, wire.MAX_REQUEST_BYTES, SHORT_CALL_S)
        except (StreamLostError, ProtocolError):
            return
        ctx.told_status(peer, status)
        if not self.may_part or ctx.news.better is not None or self._is_ours(status):
            return
        fork = await self._fork(peer, status.head)
        if fork is not None and fork.ours and fork.is_theirs_better:
            ctx.news.told_better(peer)

    def _is_ours(self, status: wire.Status) -> bool:
        """Whether a peer stands on this chain, at this round or an earlier one."""
        if status.head > self.ctx.head.round:
            return False
        mark = kept_mark(self.ctx.run, self.ctx.store.load_record, status.head)
        return mark is not None and mark.digest == status.head_digest

    async def _fork(self, peer: PeerId, their_round: int) -> Fork | None:
        ctx = self.ctx
        return await find_fork(
            ctx.run,
            ctx.store,
            self.caller,
            peer,
            our_round=ctx.head.round,
            their_round=their_round,
            first_look=KEPT_ROUNDS,
        )

    # --- going over ---------------------------------------------------------------------------------------------------

    async def go_over(self, donors: Sequence[PeerId]) -> bool:
        """Follows the founders' restart or the better chain that this peer was told of; whether its head has moved."""
        ctx = self.ctx
        if ctx.is_restart_due:
            return await self._follow_restart(donors)
        peer, ctx.news.better = ctx.news.better, None
        return peer is not None and await self._follow_better(peer)

    async def _follow_restart(self, donors: Sequence[PeerId]) -> bool:
        """Goes back to the record that a restart names; the next round puts it in force."""
        ctx = self.ctx
        newest = read_restarts(ctx.news.restarts, ctx.run)
        mark = kept_mark(ctx.run, ctx.store.load_record, newest.round)
        if mark is None or mark.digest.hex() != newest.record:
            return await self._follow_unknown(donors)
        lost = ctx.head.round - mark.round
        if not await self._switch(mark, mark.restarted(ctx.run, ctx.news.restarts), donors):
            self.sink(events.Note(text=f"nobody gives the state of round {mark.round} yet, where founders restart"))
            await asyncio.sleep(1.0)
            return False
        self._report(mark, lost, 0, 0, f"the founders restarted the run in term {newest.term} from round {mark.round}")
        return True

    async def _follow_unknown(self, donors: Sequence[PeerId]) -> bool:
        """A restart of a chain that this peer is not on: somebody may be further on it."""
        ctx = self.ctx
        newest, ctx.news.restarts = read_restarts(ctx.news.restarts, ctx.run), ()
        for donor in donors:
            fork = await self._fork(donor, ctx.head.round)
            if fork is not None and fork.ours and fork.is_theirs_better:
                return await self._follow_better(donor)
        known = kept_mark(ctx.run, ctx.store.load_record, newest.round)
        here = "none" if known is None else known.digest.hex()[:16] or "state 0"
        reason = f"it names an unknown record, {newest.record[:16]} of round {newest.round}; the one here is {here}"
        self.sink(events.RestartRefused(term=newest.term, reason=reason))
        return False

    async def _follow_better(self, peer: PeerId) -> bool:
        ctx = self.ctx
        fork = await self._fork(peer, ctx.head.round)
        if fork is None or not fork.is_theirs_better:
            return False
        is_new_term = fork.theirs[-1].voters is not None and fork.theirs[-1].voters.term > ctx.electorate.term
        if len(fork.ours) > KEPT_ROUNDS and not is_new_term:
            reason = (
                f"this chain parted from a heavier one {len(fork.ours)} rounds ago, more than the {KEPT_ROUNDS} that "
                "may be taken back by itself: start this peer with a new --state, or have the founders restart the run"
            )
            self.sink(events.ChainsApart(peer=peer, rounds=len(fork.ours), reason=reason))
            return False
        if not await self._switch(fork.at, fork.at, [peer]):
            return False
        reason = "a chain of a later term" if is_new_term else "a chain with more weight, or as much and a lower digest"
        self._report(fork.at, len(fork.ours), fork.weight_lost, fork.weight_won, reason)
        return True

    async def _switch(self, at: Mark, start: Mark, donors: Sequence[PeerId]) -> bool:
        """Goes on from the furthest verified state after `at`; whether there is one.

        `start` is that point as the other chain has it, which under a restart has another electorate.
        """
        ctx, store = self.ctx, self.ctx.store
        staged = MemoryStore()
        catching = CatchUp(ctx.run, staged, self.caller, donors, self.partials, self.sink)
        base = await resume(ctx.run, store, self._say, until=at.round)
        if base is not None:
            base = replace(base, electorate=start.electorate) if base.mark == at else None
        try:
            head = (await catching.run(base, start=start)).head
        except NetworkError as error:
            self._say(str(error))
            if base is None:
                return False
            head = base
        term = max(head.electorate.term, start.electorate.term)
        if head.round == at.round:
            head = replace(head, electorate=at.electorate)  # the next round puts the restart in force
        await self.checkpoints.finish()
        if self.may_part:
            await ctx.acceptor.start_over()
        elif term > ctx.electorate.term:
            if start.electorate.restarts:
                await store.save_restarts(encode_restarts(start.electorate.restarts))
            # What founders take back must not come again by the votes it had.
            await ctx.acceptor.begin_term(at.round, term)
        await self._move(at, head, staged)
        ctx.head = head
        ctx.begin_round()
        return True

    async def _move(self, at: Mark, head: Head, staged: MemoryStore) -> None:
        store = self.ctx.store
        for round_number in (number for number in store.snapshots() if number > at.round):
            store.set_aside_snapshot(round_number)
        last = at.round
        while store.load_record(last + 1) is not None:
            last += 1
        for round_number in range(last, at.round, -1):
            store.set_aside_record(round_number)
        for round_number in range(at.round + 1, head.round + 1):
            record = staged.load_record(round_number)
            assert record is not None, "a head has every record before it"
            await store.save_record(round_number, record)
        await store.save_snapshot(head.round, (head.base_N, *head.outer_VN))

    def _report(self, at: Mark, lost: int, weight_lost: int, weight_won: int, reason: str) -> None:
        self.sink(
            events.ChainSwitched(
                fork_round=at.round,
                from_round=at.round + lost,
                to_round=self.ctx.head.round,
                rounds_lost=lost,
                weight_lost=weight_lost,
                weight_won=weight_won,
                reason=reason,
            )
        )

    def _say(self, text: str) -> None:
        self.sink(events.Note(text=text))
