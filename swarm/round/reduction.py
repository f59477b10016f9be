"""The chunk-owner all-reduce of one attempt: every chunk is averaged by its owner, and everyone gets the same bytes.

Each member opens a *lane* to each owner, sends its parts of that owner's chunks and receives the results on the same
stream, while it serves as owner on the lanes that others opened to it. Parts are quantised as they are sent, summed as
they arrive, and a mean is quantised once and sent on verbatim. A chunk counts whoever gave a part before its deadline.
A member that gives nothing sends `GetReduced` instead of parts: it only asks for the results.

When an owner fails, the chunks it left go to the next peer in the roster's order. That peer first asks the others
for a result the owner may have given them before it died, and reduces what is sent to it only if there is none. Two
peers may still end with different results of one chunk: nothing acts on a result before the round's proposal has named
its digest, and what differs is then fetched by digest (swarm.round.results).
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass

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
from swarm.round.piles import Piles
from swarm.sovereignty.gate import Denied, Gate
from swarm.sovereignty.permit import Permit
from swarm.state.roster import Roster
from swarm.state.run import Run

WINDOW_CHUNKS = 4
"""Chunks an owner lets a fast sender run ahead of its slowest unfinished one: bounds the open sums."""
_BATCH_CHUNKS = 512
"""Chunks one frame asks for."""
_CONNECT_LIMIT_S = 5.0
_PROBE_LIMIT_S = 2.0


@dataclass(frozen=True)
class Contribution:
    """What this peer gives: `x_N` is update plus residual, float32 [N], frozen for all attempts of the round."""

    x_N: np.ndarray
    permit: Permit


class Reduction:
    """One peer's part in one attempt's all-reduce."""

    def __init__(
        self,
        *,
        run: Run,
        roster: Roster,
        caller: Caller,
        gate: Gate,
        contribution: Contribution | None,
        limit_s: float,
        sink: Callable[[events.AnyEvent], None],
    ) -> None:
        self._run = run
        self.roster = roster
        self._caller = caller
        self._gate = gate
        self._contribution = contribution
        self._limit_s = limit_s
        self._sink = sink
        self._me = caller.peer_id
        self._seat = roster.index[self._me]
        self.piles = Piles(run, roster, self._seat)
        self._owners = [roster.owners(chunk) for chunk in range(run.grid.chunks)]
        self._mine = [chunk for chunk, order in enumerate(self._owners) if order[0] == self._me]
        self._place = {chunk: place for place, chunk in enumerate(self._mine)}
        self._failed: set[PeerId] = set()
        self.results: dict[int, wire.ChunkResult] = {}
        self._changed = Signal()
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []

    async def run(self) -> None:
        """Takes part until this peer holds a result for every chunk. Raises StreamLostError if no owner is left."""
        by_owner: dict[PeerId, list[int]] = {}
        for chunk, order in enumerate(self._owners):
            by_owner.setdefault(order[0], []).append(chunk)
        for owner, chunks in by_owner.items():
            self._spawn(self._reduce(chunks) if owner == self._me else self._lane(owner, chunks))
        while len(self.results) < self._run.grid.chunks:
            if self._errors:
                raise self._errors[0]
            await self._changed.wait()

    def close(self) -> None:
        """Ends every task of this attempt, lanes that others opened included; streams close with them."""
        for task in list(self._tasks):
            task.cancel()

    async def serve(self, stream: AuditedStream) -> None:
        """The owner's side of a lane: takes parts, gives results, until the member closes it or is lost.

        Raises:
            ProtocolError: the member broke the protocol; its stream must be closed.
        """
        seat = self.roster.index.get(stream.remote)
        if seat is None:
            raise ProtocolError("a lane from a peer that is not in the roster")
        serving = asyncio.current_task()
        assert serving is not None
        self._tasks.add(serving)
        wanted: asyncio.Queue[int] = asyncio.Queue()
        answering = asyncio.create_task(self._answer(stream, wanted))
        self._tasks.add(answering)
        answering.add_done_callback(self._tasks.discard)
        asked: set[int] = set()
        try:
            while True:
                frame = await stream.receive(wire.Part | wire.GetReduced, self._part_limit())
                for chunk in (frame.chunk,) if isinstance(frame, wire.Part) else frame.chunks:
                    if not 0 <= chunk < self._run.grid.chunks or chunk in asked:
                        raise ProtocolError(f"a part for chunk {chunk}, which does not exist or was sent before")
                    asked.add(chunk)
                    await self._room_for(chunk)
                    if chunk not in self.results:
                        if isinstance(frame, wire.Part):
                            self.piles.add(chunk, seat, frame.data)
                        else:
                            self.piles.withhold(chunk, seat)
                        self._changed.fire()
                    wanted.put_nowait(chunk)
        except StreamLostError:
            is_whole = asked <= self.results.keys() and (asked >= self._place.keys() or not asked & self._place.keys())
            if not (asked and is_whole):
                self._lose(seat)
        except ProtocolError:
            self._lose(seat)
            raise
        finally:
            self._tasks.discard(serving)
            answering.cancel()

    # --- as owner -----------------------------------------------------------------------------------------------------

    async def _reduce(self, chunks: Sequence[int]) -> None:
        """Chunks in order: adds this peer's part, waits for the others', finishes each by its deadline."""
        until_s = monotonic_s() + self._limit_s
        for chunk in chunks[:WINDOW_CHUNKS]:
            self._add_own(chunk)
        for place, chunk in enumerate(chunks):
            while chunk not in self.results and self.piles.waits_for(chunk):
                left_s = until_s - monotonic_s()
                if left_s <= 0 or not await self._changed.wait_within(left_s):
                    break
            if chunk not in self.results:
                for seat in self.piles.waits_for(chunk):
                    self._report_late(seat)
                self._resolve(self.piles.finish(chunk))
            if place + WINDOW_CHUNKS < len(chunks):
                self._add_own(chunks[place + WINDOW_CHUNKS])
            await asyncio.sleep(0)

    def _add_own(self, chunk: int) -> None:
        if self._contribution is None:
            self.piles.withhold(chunk, self._seat)
        else:
            self.piles.add(chunk, self._seat, self._encoded(chunk))

    async def _take_over(self, chunks: list[int]) -> None:
        """Chunks whose owners failed and for which this peer is next: a result that exists is better than a new one."""
        await self._collect_existing(chunks)
        await self._reduce([chunk for chunk in chunks if chunk not in self.results])

    async def _collect_existing(self, chunks: Sequence[int]) -> None:
        others = [
            seat.peer
            for seat in self.roster.seats
            if seat.dialable and seat.peer != self._me and seat.peer not in self._failed
        ]
        request = wire.GetReduced(self.roster.round, self.roster.ballot, tuple(chunks))
        async with asyncio.TaskGroup() as group:
            for peer in others:
                group.create_task(self._ask_existing(peer, request))

    async def _ask_existing(self, peer: PeerId, request: wire.GetReduced) -> None:
        try:
            async with asyncio.timeout(_PROBE_LIMIT_S):
                stream = await self._caller.open(peer, request, _PROBE_LIMIT_S)
                try:
                    for chunk in request.chunks:
                        answer = await stream.receive(wire.ChunkResult | wire.Missing, self._part_limit())
                        if isinstance(answer, wire.ChunkResult):
                            self._adopt(answer, {chunk})
                finally:
                    stream.close()
        except (StreamLostError, ProtocolError, TimeoutError):
            return  # it has nothing for us; the chunk is reduced anew

    async def _answer(self, stream: AuditedStream, wanted: "asyncio.Queue[int]") -> None:
        """Sends each result that a member asked for, as soon as it is there."""
        waiting: list[int] = []
        while True:
            if not waiting:
                waiting.append(await wanted.get())
            while not wanted.empty():
                waiting.append(wanted.get_nowait())
            ready = [chunk for chunk in waiting if chunk in self.results]
            waiting = [chunk for chunk in waiting if chunk not in self.results]
            try:
                for chunk in ready:
                    await self.send_result(stream, self.results[chunk])
            except StreamLostError:
                return
            if not ready:
                await self._changed.wait()

    async def send_result(self, stream: AuditedStream, result: wire.ChunkResult) -> None:
        """Sends one result if the gate lets this aggregate go to that peer; closes the stream otherwise."""
        region = self.roster.regions.get(stream.remote, "")
        members = self.roster.members_in(result.contributors)
        permit = self._gate.check_result(members=members, recipient=stream.remote, recipient_region=region)
        if isinstance(permit, Denied):
            self._sink(events.UpdateDenied(round=self.roster.round, code=permit.code, reason=permit.reason))
            stream.close()
            return
        await stream.send(result, permit)

    async def _room_for(self, chunk: int) -> None:
        """Holds back a sender that runs too far ahead of this owner's slowest own chunk."""
        ahead = self._place.get(chunk, 0) - WINDOW_CHUNKS
        while ahead >= 0 and self._mine[ahead] not in self.results:
            await self._changed.wait()

    # --- as member ----------------------------------------------------------------------------------------------------

    async def _lane(self, owner: PeerId, chunks: list[int]) -> None:
        """Sends this peer's parts of `chunks` to their owner, takes the results; on failure moves what is left on."""
        stream: AuditedStream | None = None
        reason = ""
        try:
            opening = wire.OpenReduce(self.roster.round, self.roster.ballot)
            stream = await self._caller.open(owner, opening, min(_CONNECT_LIMIT_S, self._limit_s))
            # The owner closes its chunks after limit_s; half as long again covers the way here.
            async with asyncio.timeout(1.5 * self._limit_s):
                await all_of(self._send_parts(stream, chunks), self._take_results(stream, set(chunks)))
        except TimeoutError:
            reason = f"no result within {1.5 * self._limit_s:.1f} s"
        except (StreamLostError, ProtocolError) as error:
            reason = str(error)
        finally:
            if stream is not None:
                stream.close()
        if reason and any(chunk not in self.results for chunk in chunks):
            self._report_failed(owner, reason)
            self.piles.lose(self.roster.index[owner])
            self._move_on(chunks)

    async def _send_parts(self, stream: AuditedStream, chunks: Sequence[int]) -> None:
        if self._contribution is None:
            for start in range(0, len(chunks), _BATCH_CHUNKS):
                batch = tuple(chunks[start : start + _BATCH_CHUNKS])
                await stream.send(wire.GetReduced(self.roster.round, self.roster.ballot, batch))
            return
        for chunk in chunks:
            await stream.send(wire.Part(chunk, self._encoded(chunk)), self._contribution.permit)

    async def _take_results(self, stream: AuditedStream, wanted: set[int]) -> None:
        while wanted:
            result = await stream.receive(wire.ChunkResult, self._part_limit())
            self._adopt(result, wanted)
            wanted.discard(result.chunk)

    def _move_on(self, chunks: Iterable[int]) -> None:
        """Gives chunks of failed owners to the next peer in the roster's order that has not failed."""
        by_owner: dict[PeerId, list[int]] = {}
        for chunk in chunks:
            if chunk in self.results:
                continue
            heir = next((peer for peer in self._owners[chunk] if peer not in self._failed), None)
            if heir is None:
                self._errors.append(StreamLostError("every peer that could own a chunk has failed"))
                self._changed.fire()
                return
            self._sink(events.ChunkTakenOver(round=self.roster.round, chunk=chunk, owner=heir))
            by_owner.setdefault(heir, []).append(chunk)
        for heir, theirs in by_owner.items():
            self._spawn(self._take_over(theirs) if heir == self._me else self._lane(heir, theirs))

    # --- shared -------------------------------------------------------------------------------------------------------

    def _adopt(self, result: wire.ChunkResult, allowed: set[int]) -> None:
        """Takes a result from another peer, checked; the first one of a chunk stays."""
        if result.chunk not in allowed:
            raise ProtocolError(f"a result for chunk {result.chunk} that was not asked for")
        self._run.codec.check(result.data, self._run.grid.length(result.chunk))
        self.roster.contributors(result.contributors)
        if result.chunk not in self.results:
            self.piles.discard(result.chunk)
            self._resolve(result)

    def _resolve(self, result: wire.ChunkResult) -> None:
        self.results[result.chunk] = result
        self._changed.fire()

    def _encoded(self, chunk: int) -> bytes:
        assert self._contribution is not None
        return self._run.codec.encode(self._contribution.x_N[self._run.grid.bounds(chunk)])

    def _part_limit(self) -> int:
        return self._run.encoded_bytes(0) + wire.MAX_CHUNK_OVERHEAD_BYTES

    def _lose(self, seat: int) -> None:
        peer = self.roster.seats[seat].peer
        self._sink(events.PeerLost(round=self.roster.round, peer=peer, role="sender", reason="its stream ended early"))
        self.piles.lose(seat)
        self._changed.fire()

    def _report_late(self, seat: int) -> None:
        peer = self.roster.seats[seat].peer
        reason = f"its part did not come within {self._limit_s:.1f} s"
        self._sink(events.PeerLost(round=self.roster.round, peer=peer, role="sender", reason=reason))
        self.piles.lose(seat)

    def _report_failed(self, owner: PeerId, reason: str) -> None:
        if owner not in self._failed:
            self._failed.add(owner)
            self._sink(events.PeerLost(round=self.roster.round, peer=owner, role="owner", reason=reason))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What breaks in a task of this attempt ends the attempt: run() raises it."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._errors.append(error)
            self._changed.fire()
