"""One peer's way to the swarm's head: at its start, and whenever others are ahead. Whom to ask is decided here.

What is asked for and how it is verified is `swarm.state.catchup`'s business; another chain is `chains.py`'s.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from swarm import events
from swarm.clock import monotonic_s
from swarm.errors import NetworkError
from swarm.identity.peer_id import PeerId
from swarm.net.calls import Caller
from swarm.node.chains import Chains
from swarm.node.presence import Presence
from swarm.round.context import Context
from swarm.state.catchup import CatchUp
from swarm.state.electorate import few_of
from swarm.state.head import Head
from swarm.state.partial import Partials
from swarm.state.resume import resume
from swarm.state.run import Run
from swarm.state.store import Store

MOST_DONORS = 8
"""Peers asked at once where they stand; the next try asks others."""
CATCH_UP_TRIES = 30
_RETRY_S = 1.0
EnterAnew = Callable[[int], Awaitable[Sequence[PeerId]]]
"""Dials some of those remembered, others for every number, and says who answered."""


@dataclass
class Following:
    """One peer's."""

    run: Run
    me: PeerId
    store: Store
    caller: Caller
    presence: Presence
    partials: Partials
    sink: Callable[[events.AnyEvent], None]
    seeds: Sequence[PeerId] = ()
    """A few of those it was told of when it was started."""
    _tries: int = field(default=0, init=False)

    async def arrive(self, seeds: Sequence[PeerId], enter_anew: EnterAnew) -> Head:
        """The swarm's head, from this peer's disk and from others; while nobody gives it, entering goes on.

        Raises:
            NetworkError: nobody could give a verified state.
            StateError: the state folder cannot be used.
        """
        self.seeds = few_of(seeds, MOST_DONORS, self.me)
        began_s = monotonic_s()
        met: list[PeerId] = []
        on_disk = await resume(self.run, self.store, self._say)
        for attempt in range(CATCH_UP_TRIES):
            try:
                caught = await self._catching([*self.presence.known, *seeds, *met], attempt).run(on_disk)
            except NetworkError:
                if attempt + 1 == CATCH_UP_TRIES:
                    raise
                _, answered = await asyncio.gather(asyncio.sleep(_RETRY_S), enter_anew(attempt))
                met += answered
                await self.presence.look()
                continue
            break
        else:
            raise AssertionError("the last try returns or raises")
        head, source = caught.head, "disk"
        if on_disk is None or head.round > on_disk.round:
            source = "replay" if caught.replayed else "download"
        self.sink(
            events.StateReady(
                round=head.round,
                digest=head.state_digest.hex(),
                source=source,
                bytes_received=caught.bytes_received,
                seconds=monotonic_s() - began_s,
            )
        )
        return head

    async def follow(self, ctx: Context, chains: Chains) -> bool:
        """Follows others' verified records; whether the head has moved."""
        before = ctx.head.round
        await self.presence.look()
        self._tries += 1
        peers = [*ctx.electorate.peers, *self.presence.known]
        if ctx.is_restart_due or ctx.news.better is not None:
            # The bootstrap node too: nobody else keeps state 0 for ever, from where founders may restart.
            return await chains.go_over([*self._donors(peers, self._tries), *self.seeds])
        try:
            caught = await self._catching(peers, self._tries).run(ctx.head)
        except NetworkError as error:
            self._say(str(error))
            await asyncio.sleep(_RETRY_S)
            return False
        ctx.head = caught.head
        if ctx.head.round > before:
            ctx.begin_round()
            self.sink(events.CaughtUp(from_round=before, to_round=ctx.head.round, replayed=caught.replayed))
        return ctx.head.round > before

    def _catching(self, peers: Sequence[PeerId], attempt: int) -> CatchUp:
        return CatchUp(self.run, self.store, self.caller, self._donors(peers, attempt), self.partials, self.sink)

    def _donors(self, peers: Sequence[PeerId], attempt: int) -> list[PeerId]:
        """A few of `peers` to catch up from, others for every peer and every attempt."""
        others = [peer for peer in dict.fromkeys(peers) if peer != self.me]
        return few_of(others, MOST_DONORS, f"{self.me}/{attempt}")

    def _say(self, text: str) -> None:
        self.sink(events.Note(text=text))
