"""The receiving side: from nothing, or from a head that others have left behind, to the swarm's head.

Trust comes from the chain of records alone: each is verified against the electorate that the one before it left, from
the charter on. Then the state is either replayed (few rounds missed, results still kept) or downloaded from all donors
at once (`download.py`), every piece checked against a Merkle leaf of a state digest that a record's quorum signed. Who
gives the bytes does not matter.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swarm import events
from swarm.clock import monotonic_s
from swarm.errors import NetworkError, ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.calls import Caller
from swarm.net.transport import StreamLostError
from swarm.state.chain import Mark, keep
from swarm.state.download import Download
from swarm.state.fetching import fetch_records
from swarm.state.head import Head, apply_results, unchanged
from swarm.state.partial import Partials, Target
from swarm.state.records import Decided
from swarm.state.roster import result_digest
from swarm.state.run import Run
from swarm.state.store import KEPT_ROUNDS, Store
from swarm.vector.bounds import Buffer
from swarm.vector.recycle import Recycler

_STATUS_LIMIT_S = 2.0
"""Who takes longer to say where it stands is asked for the rest last."""
_ASK_LIMIT_S = 5.0
_STALL_LIMIT_S = 10.0
_SLOWEST_BYTES_PER_S = 500_000.0
"""Whoever gives the means of a round more slowly than this leaves the rest of them to the next donor."""
_SILENCE_PAUSE_S = 4.0
"""Before giving up where nobody answers: as long as it takes to lose a donor's streams."""
_MOST_LOOKS = 5
"""A swarm whose rounds are quicker than a look is not chased for ever: its leader hands over the last records."""


@dataclass(frozen=True)
class CaughtUp:
    """Where this peer stands now and how it got there."""

    head: Head
    replayed: bool
    bytes_received: int


class CatchUp:
    """One catching up from `donors`, in their order of preference."""

    def __init__(
        self,
        run: Run,
        store: Store,
        caller: Caller,
        donors: Sequence[PeerId],
        partials: Partials,
        sink: Callable[[events.AnyEvent], None],
    ) -> None:
        self._run = run
        self._store = store
        self._caller = caller
        self._donors = [peer for peer in dict.fromkeys(donors) if peer != caller.peer_id]
        self._partials = partials
        self._sink = sink
        self._received = 0
        self._start = Mark.genesis(run)
        self._liars = set(partials.liars)
        """Donors that sent a piece, or leaves, of another state than they were asked for.

        Who showed other leaves is asked again next time: it may stand on another chain, and this peer may go over.
        """
        self._refused: dict[PeerId, str] = {}
        """What donors said that would not even say where they stand."""

    async def run(self, head: Head | None, *, start: Mark | None = None) -> CaughtUp:
        """The highest state that a quorum signed and that the donors still hold.

        Without a head, records are believed from `start` on, or from the charter.

        The swarm goes on meanwhile, so this looks again a few times, until there is nothing newer.

        Raises:
            NetworkError: no donor can be reached, or none has what is needed.
        """
        self._start = start or Mark.genesis(self._run)
        caught = await self._once(head)
        replayed = caught.replayed
        for _ in range(_MOST_LOOKS):
            before = -1 if head is None else head.round
            if caught.head.round == before:
                break
            head = caught.head
            try:
                caught = await self._once(head)
            except NetworkError:
                break  # what is newer cannot be had now; what is here stands
            replayed &= caught.replayed
        return CaughtUp(caught.head, replayed, self._received)

    async def _once(self, head: Head | None) -> CaughtUp:
        mark = self._start if head is None else head.mark
        decided: list[Decided] = []
        furthest = await self._rank_donors()
        for donor in self._donors:
            last = self._mark_after(mark, decided[-1] if decided else None)
            if furthest is not None and last.round >= furthest:
                break
            decided += await self._records(donor, last)
        if head is not None and not decided:
            return CaughtUp(head, True, self._received)
        if head is not None and len(decided) <= KEPT_ROUNDS:
            replayed = await self._replay(head, decided)
            if replayed is not None:
                return CaughtUp(replayed, True, self._received)
        begun = self._partials.target()
        if furthest is None and not decided and begun is not None and begun.round > mark.round:
            await asyncio.sleep(_SILENCE_PAUSE_S)  # whoever tries again has a number of tries, not a time
            raise NetworkError(f"none of {len(self._donors)} peers answers{self._reasons()}")
        for at in self._targets(mark, decided):
            target = self._mark_after(mark, None if at is None else decided[at])
            head, is_refused = await self._download(target)
            if head is not None:
                for item in decided:
                    if item.value.round <= target.round:
                        await keep(self._store, item)
                await self._store.save_snapshot(head.round, (head.base_N, *head.outer_VN))
                await self._partials.clear()
                return CaughtUp(head, False, self._received)
            if not is_refused and self._partials.target() == Target(target.round, target.state_digest):
                break  # nobody says it is gone: an outage must not cost the pieces that are here
        raise NetworkError(f"none of {len(self._donors)} peers gave a state that its quorum signed{self._reasons()}")

    def _targets(self, mark: Mark, decided: Sequence[Decided]) -> list[int | None]:
        """Which states to try for, by their place in `decided`; None is the state at `mark`.

        One that is begun goes first, if the rounds after it can be replayed: its pieces count. Then the newest, and the
        one before it for donors that have moved on.
        """
        if not decided:
            return [None]
        last = len(decided) - 1
        targets: list[int | None] = [last, last - 1] if last else [last]
        begun = self._partials.target()
        for at in range(max(0, len(decided) - KEPT_ROUNDS), last):
            value = decided[at].value
            if begun == Target(value.round, value.state_digest):
                targets.insert(0, at)
        if begun == Target(mark.round, mark.state_digest) and last < KEPT_ROUNDS:
            targets.insert(0, None)
        return list(dict.fromkeys(targets))

    def _reasons(self) -> str:
        """What those said that refused."""
        said = sorted(set(self._refused.values()))
        return f" ({'; '.join(said)})" if said else ""

    async def _rank_donors(self) -> int | None:
        """Puts the donors in order: who says it stands furthest, then who answers quickest; the silent ones last.

        Returns the furthest round that any of them says it stands at; None if all are silent.
        """
        answered: dict[PeerId, int] = {}
        await asyncio.gather(*(self._ask_head(donor, answered) for donor in self._donors))
        furthest_first = sorted(answered, key=lambda donor: -answered[donor])  # stable: quickest first among equals
        self._donors = [*furthest_first, *(donor for donor in self._donors if donor not in answered)]
        return max(answered.values(), default=None)

    async def _ask_head(self, donor: PeerId, answered: dict[PeerId, int]) -> None:
        try:
            async with asyncio.timeout(_STATUS_LIMIT_S):
                status = await self._caller.ask(
                    donor, wire.GetStatus(), wire.Status, wire.MAX_REQUEST_BYTES, _STATUS_LIMIT_S
                )
        except ProtocolError as error:
            self._refused[donor] = str(error)
            return
        except (StreamLostError, TimeoutError):
            return
        answered[donor] = status.head

    def _mark_after(self, mark: Mark, decided: Decided | None) -> Mark:
        return mark if decided is None else Mark.after(self._run, decided)

    async def _records(self, donor: PeerId, mark: Mark) -> list[Decided]:
        """Records after `mark` that this donor has, as far as they verify."""
        decided, why = await fetch_records(self._run, self._caller, donor, mark)
        self._received += sum(len(item.record) for item in decided)
        if why:
            last = decided[-1].value.round if decided else mark.round
            self._say(f"{donor} gave records up to round {last}: {why}")
        return decided

    async def _replay(self, head: Head, decided: Sequence[Decided]) -> Head | None:
        """Applies the missed rounds' results one after another; None if somebody's bytes are not to be had."""
        vectors = Recycler()
        for item in decided:
            if item.value.is_rejected:
                await keep(self._store, item)
                head = unchanged(head).committed(self._run, item)
                continue
            results = await self._results(item)
            if results is None:
                return None
            successor = await apply_results(self._run, head, results, vectors)
            if successor.state_digest != item.value.state_digest:
                self._say(
                    f"round {item.value.round} does not replay to the state its quorum signed; downloading instead"
                )
                return None
            await self._store.save_results(item.value.round, item.digest, results)
            await keep(self._store, item)
            head = successor.committed(self._run, item)
        await self._store.save_snapshot(head.round, (head.base_N, *head.outer_VN))
        return head

    async def _results(self, item: Decided) -> list[Buffer] | None:
        """The encoded means of a round; what one donor gave stays when another has to go on."""
        results: list[Buffer] = []
        for donor in self._donors:
            await self._results_of(donor, item, results)
            if len(results) == self._run.grid.chunks:
                return results
        return None

    async def _results_of(self, donor: PeerId, item: Decided, results: list[Buffer]) -> None:
        """Adds to `results` what this donor gives of the rest, in order, each mean checked against its digest."""
        run = self._run
        chunks = range(len(results), run.grid.chunks)
        until_s = monotonic_s() + _STALL_LIMIT_S + sum(map(run.encoded_bytes, chunks)) / _SLOWEST_BYTES_PER_S
        request = wire.GetResults(item.value.round, item.digest, tuple(chunks))
        limit_bytes = run.encoded_bytes(0) + wire.MAX_CHUNK_OVERHEAD_BYTES
        try:
            stream = await self._caller.open_bulk(donor, request, _ASK_LIMIT_S)
        except StreamLostError:
            return
        try:
            for chunk in chunks:
                async with asyncio.timeout(max(0.0, min(_STALL_LIMIT_S, until_s - monotonic_s()))):
                    answer = await stream.receive(wire.ChunkResult, limit_bytes)
                self._received += len(answer.data)
                if result_digest(answer.contributors, answer.data) != item.value.chunk_digests[chunk]:
                    raise ProtocolError("a result that is not the one its quorum signed")
                run.codec.check(answer.data, run.grid.length(chunk))
                results.append(bytes(answer.data))
        except (StreamLostError, ProtocolError, TimeoutError):
            return
        finally:
            stream.close()

    async def _download(self, mark: Mark) -> tuple[Head | None, bool]:
        """The state at `mark`, or None if the donors cannot complete it; and whether one says that it has it not."""
        target = Target(mark.round, mark.state_digest)
        download = Download(self._run, self._caller, self._partials, target, self._liars, self._sink)
        try:
            vectors = await download.run(self._donors)
        finally:
            self._received += download.received_bytes
        if vectors is None:
            return None, download.is_refused
        base_N, *outer_VN = vectors
        head = Head(
            mark.round,
            mark.digest,
            mark.electorate,
            base_N,
            tuple(outer_VN),
            mark.state_digest,
            mark.rules,
            download.leaves,
        )
        return head, False

    def _say(self, text: str) -> None:
        self._sink(events.Note(text=text))
