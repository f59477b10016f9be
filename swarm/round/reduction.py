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
from collections.abc import Callable, Coroutine, Iterable, Sequence, Set

import numpy as np

from swarm import events
from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.calls import Caller
from swarm.net.tasks import Signal, all_of
from swarm.net.transport import StreamLostError
from swarm.round.delivery import Contribution, Delivery
from swarm.round.gathered import Gathered, check_asked
from swarm.round.piles import Piles
from swarm.round.plan import Group, Plan
from swarm.sovereignty.gate import Denied, Gate
from swarm.sovereignty.permit import Permit
from swarm.state.roster import Roster
from swarm.state.run import Run
from swarm.vector.grid import Vector

WINDOW_CHUNKS = 8
"""Chunks an owner lets a fast sender run ahead of its slowest unfinished one: bounds the open sums."""
_BATCH_CHUNKS = 512
"""Chunks one frame asks for."""
_CONNECT_LIMIT_S = 5.0
_PROBE_LIMIT_S = 2.0
_PER_LEVEL = 0.5
"""Of a deadline: how much later an owner one level up closes than those whose sums it waits for."""


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
        mean_N: Vector,
        limit_s: float,
        sink: Callable[[events.AnyEvent], None],
    ) -> None:
        """`mean_N`, float32 [N], is filled with the decoded results as they come."""
        self._run = run
        self.roster = roster
        self._caller = caller
        self._gate = gate
        self._limit_s = limit_s
        self._sink = sink
        self._me = self.seat = roster.index[caller.peer_id]
        self._chunks = run.grid.chunks
        self.plan = plan
        self.delivery = Delivery(run, contribution)
        self.results = Gathered(run, roster, mean_N, self._settled)
        self._piles = Piles(run, roster)
        self._failed: set[int] = set()
        self._open: dict[int, int] = {}
        """Chunks whose sum this peer has yet to close, with their places in that order."""
        self._first_open = 0
        """The place of the first of them."""
        self._sums: dict[int, wire.Sum] = {}
        """Sums on their way up: kept until the result is there, should their owner above fail."""
        self._outboxes: dict[int, asyncio.Queue[int]] = {}
        """By chunk: the lane its sum goes up by."""
        self._changed = Signal()
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []

    async def run(self) -> None:
        """Takes part until this peer holds a result for every chunk. Raises StreamLostError if no owner is left."""
        self._assign(range(self._chunks), is_takeover=False)
        while not self.results.are_complete:
            if self._errors:
                raise self._errors[0]
            await self._changed.wait()

    def close(self) -> None:
        """Ends every task of this attempt, lanes that others opened included; streams close with them."""
        for task in list(self._tasks):
            task.cancel()

    # --- serving those below ------------------------------------------------------------------------------------------

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
        try:
            while True:
                frame = await stream.receive(wire.Part | wire.Sum | wire.GetReduced, self._part_limit())
                for chunk in frame.chunks if isinstance(frame, wire.GetReduced) else (frame.chunk,):
                    if not 0 <= chunk < self._chunks or chunk in asked:
                        raise ProtocolError(f"a part for chunk {chunk}, which does not exist or was sent before")
                    asked.add(chunk)
                    await self._room_for(chunk)
                    if chunk not in self.results:
                        self._take(seat, chunk, frame)
                    self.results.tell(chunk, ready)
        except StreamLostError:
            if any(chunk not in self.results for chunk in asked) or self._owes(seat, asked):
                self._lose(seat)
        except ProtocolError:
            self._lose(seat)
            raise
        finally:
            self._tasks.discard(serving)
            answering.cancel()

    def _take(self, seat: int, chunk: int, frame: "wire.Part | wire.Sum | wire.GetReduced") -> None:
        """Counts what one seat below sent for a chunk. Raises ProtocolError if it may not send that."""
        match frame:
            case wire.Part(_, data):
                if seat not in self.plan.neighbours(self._me):
                    raise ProtocolError("a single update from another group")
                self._piles.add(chunk, {seat}, data)
            case wire.Sum(_, contributors, data):
                seats = frozenset(self.roster.contributors(contributors))
                branch = self.plan.branch(self._me, seat)
                if not seats or not seats <= branch or seat in self.plan.neighbours(self._me):
                    raise ProtocolError("a sum of peers that its sender does not speak for")
                self._piles.add(chunk, seats, data)
                self._piles.settle(chunk, branch)
            case wire.GetReduced():
                dialable = self.roster.seats[seat].dialable
                self._piles.settle(chunk, self.plan.branch(self._me, seat) if dialable else (seat,))
        self._changed.fire()

    async def _answer(self, stream: AuditedStream, ready: "asyncio.Queue[int]") -> None:
        """Sends each result that a member asked for, as soon as it is there."""
        try:
            while True:
                await self.send_result(stream, self.results[await ready.get()])
        except StreamLostError:
            return

    async def send_result(self, stream: AuditedStream, result: wire.ChunkResult) -> None:
        """Sends one result if the gate lets this aggregate go to that peer; closes the stream otherwise."""
        permit = self._permit(result.contributors, stream.remote)
        if isinstance(permit, Denied):
            self._sink(events.UpdateDenied(round=self.roster.round, code=permit.code, reason=permit.reason))
            stream.close()
            return
        await stream.send(result, permit)

    async def _room_for(self, chunk: int) -> None:
        """Holds back a sender that runs too far ahead of this owner's slowest open sum."""
        while chunk in self._open and self._open[chunk] >= self._first_open + WINDOW_CHUNKS:
            await self._changed.wait()

    def _owes(self, seat: int, asked: set[int]) -> bool:
        """Whether a seat has yet to send something for a chunk that this peer has not closed."""
        return any(self.plan.upstream(seat, chunk, self._failed) == self._me for chunk in self._open.keys() - asked)

    # --- owning -------------------------------------------------------------------------------------------------------

    async def _reduce(self, chunks: Sequence[int], *, is_takeover: bool) -> None:
        """Chunks this peer owns, in order: each is closed when everyone's part is there, or at its deadline.

        Of chunks whose owner failed, a result that exists is better than a new one.
        """
        began_s = monotonic_s()
        if is_takeover:
            await self._collect_existing([chunk for chunk in chunks if chunk not in self.results])
        for chunk in chunks:
            if chunk not in self.results:
                await self._close(chunk, began_s)
            del self._open[chunk]
            self._first_open = min(self._open.values(), default=0)
            self._changed.fire()
            await asyncio.sleep(0)  # lanes go on between two chunks

    async def _close(self, chunk: int, began_s: float) -> None:
        """Waits for everyone in the group this peer owns the chunk of, then makes the result, or the sum to pass on."""
        self._add_own(chunk)
        while True:
            level, scope = self._scope(chunk)
            missing = self._piles.waits_for(chunk, scope.seats)
            left_s = began_s + self._limit_s * (1 + _PER_LEVEL * level) - monotonic_s()
            if not missing or left_s <= 0:
                break
            await self._changed.wait_within(left_s)
            if chunk in self.results:
                self._piles.discard(chunk)
                return
        for seat in missing:
            self._report_late(seat)
        if scope is self.plan.root:
            self._conclude(chunk)
        else:
            await self._pass_on(chunk)

    def _scope(self, chunk: int) -> tuple[int, Group]:
        """The largest group this peer owns the chunk in, and its level. Peers only fail, so it never shrinks."""
        found = self.plan.scope(self._me, chunk, self._failed)
        assert found is not None
        return found

    def _conclude(self, chunk: int) -> None:
        """The root's owner makes the result."""
        counted, weight, mean_n = self._piles.take(chunk)
        if not self.roster.may_cross(counted, self._run.least_members):
            counted, mean_n = frozenset[int](), np.zeros_like(mean_n)
        data = self._encode_mean(chunk, counted, weight, mean_n)
        digest = self.results.put(wire.ChunkResult(chunk, self.roster.bitmap(counted), memoryview(data)))
        if self._me in counted:
            self.delivery.made(chunk, digest)

    async def _pass_on(self, chunk: int) -> None:
        """An owner below the root quantises its group's mean and sends it up."""
        while len(self._sums) >= 2 * WINDOW_CHUNKS and chunk not in self.results:
            await self._changed.wait()
        counted, weight, mean_n = self._piles.take(chunk)
        if chunk in self.results:
            return
        data = self._encode_mean(chunk, counted, weight, mean_n)
        bitmap = self.roster.bitmap(counted)
        if self._me in counted:
            self.delivery.made(chunk, bitmap)
        self._sums[chunk] = wire.Sum(chunk, bitmap, memoryview(data))
        outbox = self._outboxes.get(chunk)
        if outbox is not None:
            outbox.put_nowait(chunk)

    def _encode_mean(self, chunk: int, counted: Set[int], weight: int, mean_n: Vector) -> bytes:
        if self._me in counted:
            return self.delivery.encode_mean(chunk, mean_n, weight, self.roster.weights[self._me])
        return self._run.codec.encode(mean_n)

    def _add_own(self, chunk: int) -> None:
        contribution = self.delivery.contribution
        passed = self._sums.get(chunk)
        if passed is not None:  # the owner above failed, and this peer is next
            self._piles.add(chunk, frozenset(self.roster.contributors(passed.contributors)), passed.data)
            self._piles.settle(chunk, self.plan.neighbours(self._me))
        elif contribution is None:
            self._piles.settle(chunk, (self._me,))
        else:
            self._piles.add_own(chunk, self._me, contribution.x_N[self._run.grid.bounds(chunk)])

    async def _collect_existing(self, chunks: Sequence[int]) -> None:
        request = wire.GetReduced(self.roster.round, self.roster.ballot, tuple(chunks))
        near = self.plan.neighbours(self._me) - self._failed - {self._me}
        async with asyncio.TaskGroup() as group:
            for seat in near:
                if self.roster.seats[seat].dialable:
                    group.create_task(self._ask_existing(self.roster.peers[seat], request))

    async def _ask_existing(self, peer: PeerId, request: wire.GetReduced) -> None:
        try:
            async with asyncio.timeout(_PROBE_LIMIT_S):
                stream = await self._caller.open_bulk(peer, request, _PROBE_LIMIT_S)
                try:
                    for chunk in request.chunks:
                        answer = await stream.receive(wire.ChunkResult | wire.Missing, self._part_limit())
                        if isinstance(answer, wire.ChunkResult):
                            self._adopt(answer, {chunk})
                finally:
                    stream.close()
        except (StreamLostError, ProtocolError, TimeoutError):
            return  # it has nothing for us; the chunk is reduced anew

    # --- going up -----------------------------------------------------------------------------------------------------

    def _assign(self, chunks: Iterable[int], *, is_takeover: bool) -> None:
        """Starts a lane to each seat above for the chunks it owns, and the work on those this peer owns itself."""
        lanes: dict[int, list[int]] = {}
        mine: list[int] = []
        for chunk in chunks:
            try:
                above = self.plan.upstream(self._me, chunk, self._failed)
            except LookupError as error:
                self._break(StreamLostError(str(error)))
                return
            if is_takeover:
                owner = self.roster.peers[self._me if above is None else above]
                self._sink(events.ChunkTakenOver(round=self.roster.round, chunk=chunk, owner=owner))
            if above is not None:
                lanes.setdefault(above, []).append(chunk)
            is_new = chunk not in self._open and (above is None or chunk not in self._sums)
            if is_new and self.plan.scope(self._me, chunk, self._failed) is not None:
                mine.append(chunk)
        last = max(self._open.values(), default=-1)
        self._open.update({chunk: last + 1 + place for place, chunk in enumerate(mine)})
        self._first_open = min(self._open.values(), default=0)
        for above, theirs in lanes.items():
            self._spawn(self._lane(above, theirs))
        if mine:
            self._spawn(self._reduce(mine, is_takeover=is_takeover))
        self._changed.fire()

    async def _lane(self, above: int, chunks: list[int]) -> None:
        """Sends this peer's parts and sums of `chunks` to their owner, takes the results; on failure moves them on."""
        stream: AuditedStream | None = None
        reason = ""
        opening = wire.OpenReduce(self.roster.round, self.roster.ballot)
        # The owner closes its chunks after its deadline; one step more covers the way here.
        limit_s = self._limit_s * (1 + _PER_LEVEL * self.plan.depth)
        try:
            stream = await self._caller.open_bulk(
                self.roster.peers[above], opening, min(_CONNECT_LIMIT_S, self._limit_s)
            )
            async with asyncio.timeout(limit_s):
                await all_of(self._send_up(stream, chunks), self._take_results(stream, set(chunks)))
        except TimeoutError:
            reason = f"no result within {limit_s:.1f} s"
        except (StreamLostError, ProtocolError) as error:
            reason = str(error)
        finally:
            if stream is not None:
                stream.close()
        left = [chunk for chunk in chunks if chunk not in self.results]
        if reason and left:
            self._report_failed(above, reason)
            self._move_on(left)

    async def _send_up(self, stream: AuditedStream, chunks: Sequence[int]) -> None:
        """Parts at once and in order; sums as they are made. Ends when every chunk has been sent."""
        outbox: asyncio.Queue[int] = asyncio.Queue()
        parts = [chunk for chunk in chunks if chunk not in self._open and chunk not in self._sums]
        sums = [chunk for chunk in chunks if chunk in self._open or chunk in self._sums]
        for chunk in sums:
            self._outboxes[chunk] = outbox
            if chunk in self._sums:
                outbox.put_nowait(chunk)
        await all_of(self._send_parts(stream, parts), self._send_sums(stream, outbox, len(sums)))

    async def _send_parts(self, stream: AuditedStream, chunks: Sequence[int]) -> None:
        contribution = self.delivery.contribution
        if contribution is None or self.roster.index[stream.remote] not in self.plan.neighbours(self._me):
            for start in range(0, len(chunks), _BATCH_CHUNKS):
                batch = tuple(chunks[start : start + _BATCH_CHUNKS])
                await stream.send(wire.GetReduced(self.roster.round, self.roster.ballot, batch))
            return
        for chunk in chunks:
            part = wire.Part(chunk, memoryview(self.delivery.encode_part(chunk)))
            await stream.send(part, contribution.permit)

    async def _send_sums(self, stream: AuditedStream, outbox: "asyncio.Queue[int]", count: int) -> None:
        for _ in range(count):
            chunk = await outbox.get()
            passed = self._sums.get(chunk)
            if passed is None:
                continue  # its result came from elsewhere meanwhile
            permit = self._permit(passed.contributors, stream.remote)
            if isinstance(permit, Denied):
                self._sink(events.UpdateDenied(round=self.roster.round, code=permit.code, reason=permit.reason))
            if isinstance(permit, Denied) or not self.roster.contributors(passed.contributors):
                await stream.send(wire.GetReduced(self.roster.round, self.roster.ballot, (chunk,)))
            else:
                await stream.send(passed, permit)

    async def _take_results(self, stream: AuditedStream, wanted: set[int]) -> None:
        while wanted:
            result = await stream.receive(wire.ChunkResult, self._part_limit())
            self._adopt(result, wanted)
            wanted.discard(result.chunk)

    def _move_on(self, chunks: Sequence[int]) -> None:
        """Chunks of failed owners go to the next in their groups' order."""
        self._assign(chunks, is_takeover=True)

    # --- shared -------------------------------------------------------------------------------------------------------

    def _adopt(self, result: wire.ChunkResult, allowed: set[int]) -> None:
        check_asked(result, allowed)
        self.results.adopt(result)

    def _settled(self, chunk: int) -> None:
        """A chunk's result is here."""
        self._sums.pop(chunk, None)
        outbox = self._outboxes.pop(chunk, None)
        if outbox is not None:
            outbox.put_nowait(chunk)  # it may wait for a sum that will not be made any more
        self._changed.fire()

    def _permit(self, contributors: bytes, peer: PeerId) -> Permit | Denied:
        region = self.roster.regions.get(peer, "")
        members = self.roster.members_in(contributors)
        return self._gate.check_aggregate(members=members, recipient=peer, recipient_region=region)

    def _part_limit(self) -> int:
        return self._run.encoded_bytes(0) + wire.MAX_CHUNK_OVERHEAD_BYTES

    def _lose(self, seat: int) -> None:
        self._report_lost(seat, "sender", "its stream ended early")
        self._piles.lose(seat)
        self._changed.fire()

    def _report_late(self, seat: int) -> None:
        self._report_lost(seat, "sender", f"its part did not come within {self._limit_s:.1f} s")
        self._piles.lose(seat)

    def _report_failed(self, seat: int, reason: str) -> None:
        if seat not in self._failed:
            self._failed.add(seat)
            self._piles.lose(seat)
            self._report_lost(seat, "owner", reason)

    def _report_lost(self, seat: int, role: str, reason: str) -> None:
        peer = self.roster.peers[seat]
        self._sink(events.PeerLost(round=self.roster.round, peer=peer, role=role, reason=reason))

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
