"""The chunk-owner all-reduce of one attempt: every chunk is averaged by its owners, and everyone gets the same bytes.

Who owns what, and where a part goes, is the roster's plan (plan.py). Each member opens a *lane* to everyone its parts
or sums go to, and receives the results on the same stream, while it serves as owner on the lanes that others opened
to it. Parts are quantised as they are sent, summed as they arrive; an owner's own part is added as it is. An owner
below the root quantises its group's mean once and sends it on as a `Sum`; the root's owner quantises the mean of all
once, and those bytes come back down verbatim. A chunk counts whoever came before its deadline. A member that gives
nothing sends `GetReduced` instead of parts: it only asks for the results.

When an owner fails, the chunks it left go to the next in its group's order. That peer first asks its group for a
result the owner may have given before it died, and reduces what is sent to it only if there is none. Two peers may
still end with different results of one chunk: nothing acts on a result before the round's proposal has named its
digest, and what differs is then fetched by digest (swarm.round.results).
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable

from swarm import events
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.calls import Caller
from swarm.net.tasks import Signal
from swarm.net.transport import StreamLostError
from swarm.round.attempt import Attempt
from swarm.round.climb import climb
from swarm.round.delivery import Contribution, Delivery
from swarm.round.gathered import Gathered, check_asked
from swarm.round.owner import Owner
from swarm.round.piles import Piles
from swarm.round.plan import Plan
from swarm.round.secure.parts import MaskedParts
from swarm.round.secure.phases import Code
from swarm.round.secure.piles import MaskedPiles
from swarm.round.secure.stage import Stage, Statement
from swarm.sovereignty.gate import Denied, Gate
from swarm.state.roster import Roster
from swarm.state.run import Run
from swarm.vector.recycle import Recycler

_CONNECT_LIMIT_S = 5.0
_PROBE_LIMIT_S = 2.0
_GIVEN = wire.Part | wire.Sum | wire.GetReduced


class Reduction:
    """One peer's part in one attempt's all-reduce."""

    def __init__(
        self,
        *,
        run: Run,
        roster: Roster,
        plan: Plan,
        caller: Caller,
        gate: Gate,
        contribution: Contribution | None,
        vectors: Recycler,
        limit_s: float,
        sink: Callable[[events.AnyEvent], None],
        secure: Stage | None = None,
    ) -> None:
        """`secure` makes its sums secure ones."""
        self.roster = roster
        self.plan = plan
        seat = roster.index[caller.peer_id]
        self.delivery = Delivery(run, contribution)
        piles = Piles(run, roster)
        if secure is not None:
            self.delivery = parts = MaskedParts(run, contribution, secure, roster.weights[seat])
            piles = MaskedPiles(run, roster, secure, parts)
        self.results = Gathered(run, roster, vectors, self._settled)
        self._caller = caller
        self._chunks = run.grid.chunks
        self._changed = Signal()
        self._attempt = Attempt(
            run=run,
            roster=roster,
            plan=plan,
            seat=seat,
            gate=gate,
            delivery=self.delivery,
            results=self.results,
            limit_s=limit_s,
            sink=sink,
            changed=self._changed,
            secure=secure,
        )
        self.secure = secure
        self._owner = Owner(self._attempt, piles)
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []

    @property
    def seat(self) -> int:
        """This peer's place in the roster."""
        return self._attempt.seat

    async def run(self) -> None:
        """Takes part until this peer holds a result for every chunk. Raises StreamLostError if no owner is left."""
        if self.secure is not None:
            self.secure.on_change = self._owner.look_again
            self.secure.on_end = self._abandon
            self.secure.start()
            if self.secure.gives and self.delivery.contribution is None:
                self.secure.fail(Code.INCOMPLETE, "this peer's own gate lets nothing out")
        self._assign(range(self._chunks), is_takeover=False)
        while not self.results.are_complete:
            if self._errors:
                raise self._errors[0]
            await self._changed.wait()

    def close(self) -> None:
        """Ends every task of this attempt, lanes that others opened included; streams close with them."""
        self._stop()
        if self.secure is not None:
            self.secure.close()
        self.results.release()

    def _stop(self) -> None:
        for task in list(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()

    def _abandon(self, reason: str) -> None:
        """A secure sum has failed: no part, result or self-mask goes out any more, and all lanes end."""
        self._break(ProtocolError(reason))
        self._stop()

    # --- for those below ----------------------------------------------------------------------------------------------

    async def serve(self, stream: AuditedStream) -> None:
        """The owner's side of a lane: takes parts and sums, gives results, until the member closes it or is lost.

        Raises:
            ProtocolError: the member broke the protocol; its stream must be closed.
        """
        seat = self.roster.index.get(stream.remote)
        if seat is None:
            raise ProtocolError("a lane from a peer that is not in the roster")
        serving = asyncio.current_task()
        assert serving is not None
        self._tasks.add(serving)
        ready: asyncio.Queue[int] = asyncio.Queue()
        answering = asyncio.create_task(self._answer(stream, ready))
        self._tasks.add(answering)
        answering.add_done_callback(self._tasks.discard)
        asked: set[int] = set()
        expected = _GIVEN if self.secure is None else _GIVEN | Statement
        outbox = None if self.secure is None else self.secure.outbox(seat)
        telling: asyncio.Task[None] | None = None
        if self.secure is not None and outbox is not None:
            telling = asyncio.create_task(self.secure.tell(stream, outbox))
        try:
            while True:
                given = await stream.receive(expected, self._attempt.part_limit_bytes)
                if isinstance(given, Statement):
                    assert self.secure is not None
                    self.secure.hear(seat, given)
                    continue
                for chunk in given.chunks if isinstance(given, wire.GetReduced) else (given.chunk,):
                    if not 0 <= chunk < self._chunks or chunk in asked:
                        raise ProtocolError(f"a part for chunk {chunk}, which does not exist or was sent before")
                    asked.add(chunk)
                    await self._owner.room_for(chunk, given)
                    self._owner.count(seat, chunk, given)
                    if self.secure is not None and outbox is not None and not isinstance(given, wire.GetReduced):
                        self.secure.note_held(seat, chunk, given.data, outbox)
                    self.results.tell(chunk, ready)
        except StreamLostError:
            if any(chunk not in self.results for chunk in asked) or self._owner.owes(seat, asked):
                self._lose(seat)
        except ProtocolError:
            self._lose(seat)
            raise
        finally:
            self._tasks.discard(serving)
            answering.cancel()
            if telling is not None:
                telling.cancel()

    async def send_result(self, stream: AuditedStream, result: wire.ChunkResult) -> None:
        """Sends one result if the gate lets this aggregate go to that peer; closes the stream otherwise."""
        permit = self._attempt.permit(result.contributors, stream.remote)
        if isinstance(permit, Denied):
            stream.close()
        else:
            await stream.send(result, permit)

    async def _answer(self, stream: AuditedStream, ready: "asyncio.Queue[int]") -> None:
        """Sends each result that a member asked for, as soon as it is there."""
        attempt, chunks = self._attempt, self._owner.unfinished
        rate_bps = attempt.lane_rate_bps(self.roster.index[stream.remote], chunks)
        try:
            with attempt.results_pace.lane(stream, chunks, rate_bps) as lane:
                while True:
                    result = self.results[await ready.get()]
                    await lane.turn()
                    await self.send_result(stream, result)
                    lane.sent()
        except StreamLostError:
            return

    def _lose(self, seat: int) -> None:
        self._attempt.report_lost(seat, "sender", "its stream ended early")
        if self.secure is None:
            self._owner.lose(seat)
        else:
            self.secure.fail(Code.MEMBER_LOST, f"{self.roster.peers[seat]} left before its results were there")

    # --- going up -----------------------------------------------------------------------------------------------------

    def _assign(self, chunks: Iterable[int], *, is_takeover: bool) -> None:
        """Starts a lane to each seat above for the chunks it owns, and the work on those this peer owns itself."""
        lanes: dict[int, list[int]] = {}
        mine: list[int] = []
        for chunk in chunks:
            try:
                above = self._attempt.above(chunk)
            except LookupError as error:
                self._break(StreamLostError(str(error)))
                return
            if is_takeover:
                owner = self.roster.peers[self.seat if above is None else above]
                self._attempt.sink(events.ChunkTakenOver(round=self.roster.round, chunk=chunk, owner=owner))
            if above is not None:
                lanes.setdefault(above, []).append(chunk)
            is_new = not self._owner.is_open(chunk) and (above is None or not self._owner.has(chunk))
            if is_new and self.plan.scope(self.seat, chunk, self._attempt.failed) is not None:
                mine.append(chunk)
        self._owner.take_on(mine)
        for above, theirs in lanes.items():
            self._spawn(self._lane(above, theirs))
        if mine:
            self._spawn(self._take_over(mine) if is_takeover else self._owner.see_to(mine))
        if is_takeover:
            self._owner.look_again()  # what this peer owns already may have become the root's
        self._changed.fire()

    async def _lane(self, above: int, chunks: list[int]) -> None:
        """Goes up to one owner with `chunks`; if it fails, what is left goes to the next in its group's order."""
        stream: AuditedStream | None = None
        reason = ""
        opening = wire.OpenReduce(self.roster.round, self.roster.ballot)
        # The owner closes its chunks by its own deadline; one step more covers the way there and back.
        limit_s = self._attempt.closes_after_s(self.plan.depth)
        try:
            connect_s = min(_CONNECT_LIMIT_S, self._attempt.limit_s)
            stream = await self._caller.open_bulk(self.roster.peers[above], opening, connect_s)
            async with asyncio.timeout(limit_s):
                await climb(self._attempt, self._owner, stream, chunks)
        except TimeoutError:
            reason = f"no result within {limit_s:.1f} s"
        except (StreamLostError, ProtocolError) as error:
            reason = str(error)
        finally:
            if stream is not None:
                stream.close()
        left = [chunk for chunk in chunks if chunk not in self.results]
        if reason and left and self.secure is not None:
            self._attempt.report_lost(above, "owner", reason)
            self.secure.fail(Code.MEMBER_LOST, f"{self.roster.peers[above]}: {reason}")
        elif reason and left:
            if above not in self._attempt.failed:
                self._attempt.failed.add(above)
                self._attempt.report_lost(above, "owner", reason)
                self._owner.lose(above)
            # Who was the next for a chunk may have made its result just now, of what had come from below.
            self._assign([chunk for chunk in left if chunk not in self.results], is_takeover=True)

    async def _take_over(self, chunks: list[int]) -> None:
        """Chunks whose owners failed and for which this peer is next: a result that exists is better than a new one."""
        request = wire.GetReduced(self.roster.round, self.roster.ballot, tuple(chunks))
        near = self.plan.neighbours(self.seat) - self._attempt.failed - {self.seat}
        async with asyncio.TaskGroup() as group:
            for seat in sorted(near):
                if self.roster.seats[seat].dialable:
                    group.create_task(self._ask_existing(self.roster.peers[seat], request))
        await self._owner.see_to(chunks)

    async def _ask_existing(self, peer: PeerId, request: wire.GetReduced) -> None:
        try:
            async with asyncio.timeout(_PROBE_LIMIT_S):
                stream = await self._caller.open_bulk(peer, request, _PROBE_LIMIT_S)
                try:
                    for chunk in request.chunks:
                        answer = await stream.receive(wire.ChunkResult | wire.Missing, self._attempt.part_limit_bytes)
                        if isinstance(answer, wire.ChunkResult):
                            check_asked(answer, {chunk})
                            self.results.adopt(answer)
                finally:
                    stream.close()
        except (StreamLostError, ProtocolError, TimeoutError):
            return  # it has nothing for us; the chunk is reduced anew

    # --- tasks --------------------------------------------------------------------------------------------------------

    def _settled(self, chunk: int) -> None:
        """A chunk's result is here."""
        self._owner.settled(chunk)
        self._changed.fire()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What breaks in a task of this attempt ends the attempt: run() raises it."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._break(error)

    def _break(self, error: BaseException) -> None:
        self._errors.append(error)
        self._changed.fire()
