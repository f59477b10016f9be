"""One state from many donors at once, piece by piece, each checked against a Merkle leaf of the state's digest.

Every donor has one stream of its own, over which it is asked for a few pieces ahead (`pieces.py`). It has to show the
leaves of the very state that is wanted before anything is taken from it. Who sends what is not in them is dropped for
good, who stalls or is lost leaves its pieces to the others, and who is busy is asked again. Nothing here decides which
state is wanted: that is the record chain's work (`catchup.py`).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from swarm import events
from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.calls import Caller
from swarm.net.tasks import Signal, all_of, first_of
from swarm.net.transport import StreamLostError
from swarm.state.donor import BUSY, TELL_EVERY_S
from swarm.state.partial import Partial, Partials, Target
from swarm.state.pieces import Pieces
from swarm.state.run import Run
from swarm.vector.digest import LEAF_BYTES, chunk_bytes, root_of_state, state_leaf

_ASK_LIMIT_S = 5.0
_STALL_LIMIT_S = 30.0
"""How long a donor may be silent; before that, others take over what it owes as soon as they have nothing else."""
_TURN_LIMIT_S = 600.0
"""How long a donor may say that a piece has to wait for its turn (`upload.py`)."""
_MOST_WAITS = 2 * round(_TURN_LIMIT_S / TELL_EVERY_S)
"""How often it may say so of one piece: nobody is to be kept busy with it."""
_BUSY_PAUSE_S = 5.0
_BUSY_PATIENCE_S = 600.0
"""How long a newcomer asks donors that are all busy with others."""
_LOST_PAUSE_S = 2.0
_LOST_TRIES = 2
"""Streams in a row that a donor may lose without having given a piece."""
_PROGRESS_EVERY_S = 0.5
_LEAF_OVERHEAD_BYTES = 8
"""Of a leaf in a frame."""
_LOOK_EVERY_S = 1.0
"""How often a donor with nothing to give looks whether another one's piece is late."""


class _LieError(ProtocolError):
    """A piece that is not in the leaves which its donor has shown: no change of chains explains it."""


class Download:
    """One download of `target`. What it has got so far stays in `partials` if it fails."""

    def __init__(
        self,
        run: Run,
        caller: Caller,
        partials: Partials,
        target: Target,
        liars: set[PeerId],
        sink: Callable[[events.AnyEvent], None],
    ) -> None:
        """Donors that send what is not in the state are added to `liars`."""
        self._run = run
        self._caller = caller
        self._partials = partials
        self._target = target
        self._liars = liars
        self._sink = sink
        self._partial: Partial
        """Opened with the leaves: until a donor has shown them, what is kept of another state stays."""
        self.leaves: tuple[bytes, ...] = ()
        """Of the state, once a donor has shown them."""
        self._checking = asyncio.Lock()
        self._pieces: Pieces | None = None
        """Known once a donor has shown the leaves."""
        self.is_refused = False
        """Whether a donor that could be reached does not have the state, or was busy for as long as anybody asks."""
        self._changed = Signal()
        self._giving: set[PeerId] = set()
        self._refused: set[PeerId] = set()
        """Said once of each: a busy donor is asked again and again."""
        self._received = 0
        self._told_s = monotonic_s()
        self._told_bytes = 0

    @property
    def received_bytes(self) -> int:
        """Content of pieces, those that came twice or were wrong included."""
        return self._received

    async def run(self, donors: Sequence[PeerId]) -> tuple[np.ndarray, ...] | None:
        """Every vector of the state; None if these donors cannot complete it."""
        await first_of(self._until_complete(), all_of(*(self._from(donor) for donor in donors)))
        return self._partial.vectors if self._is_complete else None

    @property
    def _is_complete(self) -> bool:
        return self._pieces is not None and not self._pieces.left

    async def _until_complete(self) -> None:
        while not self._is_complete:
            await self._changed.wait()

    async def _from(self, donor: PeerId) -> None:
        """Takes from one donor until there is nothing more to take, or nothing more to hope for from it."""
        until_s = monotonic_s() + _BUSY_PATIENCE_S
        lost = 0
        while donor not in self._liars and lost < _LOST_TRIES and monotonic_s() < until_s:
            before = self._received
            match await self._visit(donor):
                case "busy":
                    await asyncio.sleep(_BUSY_PAUSE_S)
                    self.is_refused |= monotonic_s() >= until_s
                case "lost":
                    lost = 1 if self._received > before else lost + 1
                    await asyncio.sleep(_LOST_PAUSE_S)
                case "over":
                    return

    async def _visit(self, donor: PeerId) -> Literal["busy", "lost", "over"]:
        """One stream to a donor, and how it ended."""
        try:
            stream = await self._caller.open_bulk(donor, wire.GetState(self._target.round, ()), _ASK_LIMIT_S)
        except StreamLostError as error:
            self._report(donor, str(error))
            return "lost"
        try:
            answer = await self._leaves_of(stream)
            if answer is not None:
                return answer
            self._giving.add(donor)
            await self._take(donor, stream)
        except ProtocolError as error:
            self._liars.add(donor)
            if isinstance(error, _LieError):
                self._partials.distrust(donor)
            self._report(donor, f"dropped as a source of the state: {error}")
        except TimeoutError:
            self._report(donor, "gave no piece of the state in time")
        except StreamLostError as error:
            self._report(donor, str(error))
            return "lost"
        finally:
            stream.close()
            self._giving.discard(donor)
            if self._pieces is not None:
                self._pieces.leave(donor)
                self._changed.fire()
        return "over"

    async def _leaves_of(self, stream: AuditedStream) -> Literal["busy", "over"] | None:
        """Makes a donor show the leaves of the state; why nothing is to be had from it otherwise."""
        count = (1 + self._run.rule.vectors) * self._run.grid.chunks
        limit_bytes = count * (LEAF_BYTES + _LEAF_OVERHEAD_BYTES) + wire.MAX_CHUNK_OVERHEAD_BYTES
        async with asyncio.timeout(_STALL_LIMIT_S):
            answer = await stream.receive(wire.StateIs | wire.Missing | wire.Refusal, limit_bytes)
        match answer:
            case wire.StateIs(leaves):
                if len(leaves) != count or root_of_state(leaves) != self._target.state_digest:
                    raise ProtocolError("its state is not the one that its quorum signed")
                await self._begin(leaves)
                return None
            case wire.Refusal(code, reason):
                if stream.remote not in self._refused:
                    self._report(stream.remote, f"gives no state: {reason}")
                self._refused.add(stream.remote)
                return "busy" if code == BUSY else "over"
            case _:
                self.is_refused = True
                return "over"

    async def _begin(self, leaves: tuple[bytes, ...]) -> None:
        """With the first right leaves, it is known what of an earlier download still stands."""
        async with self._checking:
            if self._pieces is not None:
                return
            self._partial = partial = await self._partials.open(self._target)
            self.leaves = leaves
            if partial.is_from_disk:
                for index in range(len(leaves)):
                    vector, chunk = divmod(index, self._run.grid.chunks)
                    data = chunk_bytes(partial.vectors[vector][self._run.grid.bounds(chunk)])
                    if state_leaf(vector, chunk, data) == leaves[index]:
                        partial.held.add(index)
                    await asyncio.sleep(0)
                partial.is_from_disk = False
            self._pieces = Pieces(index for index in range(len(leaves)) if index not in partial.held)
            self._tell(is_due=True)
            self._changed.fire()

    async def _take(self, donor: PeerId, stream: AuditedStream) -> None:
        """Asks, receives and checks until the state is complete.

        Raises:
            ProtocolError: the donor sent what it was not asked for, or what is not in the state.
            TimeoutError: it gave nothing for too long.
        """
        assert self._pieces is not None
        while self._pieces.left:
            wanted = self._pieces.ask(donor, monotonic_s())
            if wanted:
                await stream.send(wire.GetState(self._target.round, wanted))
            if not self._pieces.asked_of(donor):
                await self._changed.wait_within(_LOOK_EVERY_S)
                continue
            piece = await self._next_piece(stream)
            self._received += len(piece.data)
            self._check(donor, piece)
            if self._pieces.arrived(donor, piece.index, monotonic_s()):
                await self._partials.keep(self._partial, piece.index, piece.data)
            self._tell(is_due=not self._pieces.left)
            if not self._pieces.left:
                self._changed.fire()

    async def _next_piece(self, stream: AuditedStream) -> wire.StateChunk:
        """What a donor gives next. Raises TimeoutError if it falls silent, or only ever says that it waits."""
        limit_bytes = 4 * self._run.grid.chunk_elements + wire.MAX_CHUNK_OVERHEAD_BYTES
        until_s = monotonic_s() + _TURN_LIMIT_S
        for _ in range(_MOST_WAITS):
            async with asyncio.timeout(max(0.0, min(_STALL_LIMIT_S, until_s - monotonic_s()))):
                answer = await stream.receive(wire.StateChunk | wire.Waiting, limit_bytes)
            if isinstance(answer, wire.StateChunk):
                return answer
        raise TimeoutError

    def _check(self, donor: PeerId, piece: wire.StateChunk) -> None:
        """Refuses a piece that this donor does not owe, or that is not what its leaf says."""
        assert self._pieces is not None
        if piece.index not in self._pieces.asked_of(donor):
            raise _LieError(f"it sent piece {piece.index}, which it was not asked for")
        vector, chunk = divmod(piece.index, self._run.grid.chunks)
        if state_leaf(vector, chunk, piece.data) != self.leaves[piece.index]:
            raise _LieError(f"it sent a piece {piece.index} that is not what its leaf says")

    def _tell(self, *, is_due: bool) -> None:
        """Shows how far the download is, now and then."""
        assert self._pieces is not None
        now_s = monotonic_s()
        if not is_due and now_s - self._told_s < _PROGRESS_EVERY_S:
            return
        self._sink(
            events.StateProgress(
                round=self._target.round,
                pieces=len(self.leaves) - self._pieces.left,
                pieces_total=len(self.leaves),
                bytes_total=4 * self._run.grid.elements * (1 + self._run.rule.vectors),
                bytes_received=self._received,
                bytes_per_s=(self._received - self._told_bytes) / max(now_s - self._told_s, 1e-6),
                donors=len(self._giving),
            )
        )
        self._told_s, self._told_bytes = now_s, self._received

    def _report(self, donor: PeerId, reason: str) -> None:
        self._sink(events.PeerLost(round=self._target.round, peer=donor, role="donor", reason=reason))
