"""One peer on some network: serves others, follows the swarm's head, and runs rounds with the updates it is given.

Knows no process, no daemon and no trainer: the node process gives it libp2p and a trainer link (`process.py`), tests
give it the in-memory network and made-up updates. Every byte it sends goes through the gate's permits and the ledger.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from swarm import events
from swarm.charter import passport as passports
from swarm.charter.passport import Passport, SignedPassport
from swarm.clock import WallClock, monotonic_s
from swarm.errors import NetworkError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedDirectory, AuditedStream, AuditedTransport
from swarm.net.calls import Caller
from swarm.net.server import Server
from swarm.net.transport import Directory, Transport
from swarm.node.announcements import MAX_CLOCK_SKEW_S, read_announcement
from swarm.round.acceptor import Acceptor
from swarm.round.context import Context, Offer
from swarm.round.round import Behind, run_round
from swarm.round.service import serve_round
from swarm.round.settle import settle
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.ledger import Ledger
from swarm.state.catchup import CatchUp
from swarm.state.donor import Donor
from swarm.state.electorate import few_of
from swarm.state.head import Head
from swarm.state.resume import resume
from swarm.state.run import Run
from swarm.state.store import Store
from swarm.vector.feedback import carry_in

ANNOUNCE_EVERY_S = 5.0
ANNOUNCEMENT_LIFETIME_S = 30.0
LOOK_EVERY_S = 1.0
LONGEST_LOOK_S = 15.0
LOOKED_AT_PER_S = 64
"""Entries a peer that does not lead reads per second: in a large swarm it looks less often."""
MOST_DONORS = 8
"""Peers asked at once where they stand; the next try asks others."""
CATCH_UP_TRIES = 30


@dataclass(frozen=True)
class Update:
    """What a trainer made of a round's inner steps: base minus local weights (or a mean gradient), float32 [N].

    The engine takes the vector over and writes to it, until it asks the trainer to begin again.
    """

    update_N: np.ndarray
    tokens: int


class Trainer(Protocol):
    """Where updates come from."""

    def begin(self, head: Head) -> "asyncio.Future[Update]":
        """Starts inner steps from a head's base; the future becomes their update."""
        ...

    async def abandon(self) -> None:
        """The round is over without this update; returns once the trainer can begin anew."""
        ...


class Engine:
    """A peer. `start` first, then `run`."""

    def __init__(
        self,
        *,
        run: Run,
        identity: Identity,
        passport: SignedPassport,
        charter_bytes: bytes,
        transport: Transport,
        directory: Directory,
        ledger: Ledger,
        gate: Gate,
        store: Store,
        sink: Callable[[events.AnyEvent], None],
        wall_clock: WallClock,
        addresses: Sequence[str] = (),
        is_dialable: bool = True,
    ) -> None:
        self.run_info = run
        self._identity = identity
        self._passport = passport
        self._store = store
        self._sink = sink
        self._wall_clock = wall_clock
        self._addresses = tuple(addresses)
        self._is_dialable = is_dialable
        self._ledger = ledger
        self._transport = AuditedTransport(transport, ledger, gate.standing)
        self._directory = AuditedDirectory(directory, ledger, gate.standing)
        self._gate = gate
        encoded = passports.encode(passport)
        self._encoded_passport = encoded
        self._caller = Caller(self._transport, wire.Hello(run.id, encoded))
        self._donor = Donor(run, store)
        self._known: dict[PeerId, wire.Announcement] = {}
        self._phase = "joining"
        self._catch_ups = 0
        self._passed_over = 0
        self._tokens = 0
        self._tokens_per_s = 0.0
        self._announce_now = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.ctx: Context | None = None
        self._server = Server(
            transport=self._transport,
            charter=run.charter,
            run_id=run.id,
            charter_bytes=charter_bytes,
            dispatch=self._dispatch,
            sink=sink,
            wall_clock=wall_clock,
        )

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self, seeds: Sequence[PeerId]) -> Head:
        """Opens the door, comes to the swarm's head, and announces itself.

        Raises:
            NetworkError: nobody could give a verified state.
            StateError: the state folder cannot be used.
        """
        await self._transport.serve(self._server.handle)
        await self._look()
        acceptor = Acceptor(self._store)
        began_s = monotonic_s()
        head = await resume(self.run_info, self._store, self._say)
        source, received = "disk", 0
        head_or_none = head
        for attempt in range(CATCH_UP_TRIES):
            donors = self._donors([*self._known, *seeds], attempt)
            catching = CatchUp(self.run_info, self._store, self._caller, donors, self._say)
            try:
                caught = await catching.run(head_or_none)
            except NetworkError:
                if attempt + 1 == CATCH_UP_TRIES:
                    raise
                await asyncio.sleep(1.0)
                await self._look()
                continue
            if head is None or caught.head.round > head.round:
                source = "replay" if caught.replayed else "download"
            head, received = caught.head, caught.bytes_received
            break
        assert head is not None
        self._sink(
            events.StateReady(
                round=head.round,
                digest=head.state_digest.hex(),
                source=source,
                bytes_received=received,
                seconds=monotonic_s() - began_s,
            )
        )
        self.ctx = Context(
            run=self.run_info,
            identity=self._identity,
            passport=self._encoded_passport,
            caller=self._caller,
            gate=self._gate,
            store=self._store,
            acceptor=acceptor,
            head=head,
            sink=self._sink,
            is_dialable=self._is_dialable,
            announced=self.announced,
            link=self._transport,
        )
        self._tasks = [
            asyncio.create_task(self._keep_looking()),
            asyncio.create_task(self._keep_announcing()),
        ]
        return head

    async def run(self, trainer: Trainer, max_rounds: int | None) -> None:
        """Takes part in rounds until the head has reached `max_rounds`, or for ever."""
        ctx = self._context
        residual_N = np.zeros(self.run_info.grid.elements, np.float32)
        while max_rounds is None or ctx.head.round < max_rounds:
            training = trainer.begin(ctx.head)
            self._enter("training")
            pending = asyncio.ensure_future(self._offer(training, residual_N))
            opened = ctx.round
            try:
                end = await run_round(ctx, pending)
                # That others are ahead is a claim until their records prove it: the inner steps go on meanwhile.
                while isinstance(end, Behind) and not await self._catch_up():
                    ctx.doubt_claims()
                    end = await run_round(ctx, pending)
            finally:
                pending.cancel()
            if isinstance(end, Behind):
                await trainer.abandon()
                decided = ctx.archive.committed(opened)
                if end.offer is not None and decided is not None:
                    settle(self.run_info, ctx.me, end.offer, decided, ctx.reduction)
                elif end.offer is not None:
                    residual_N[:] = 0  # nobody can say what was counted, and the base is far from where it was made
            elif end.offer is None:
                await trainer.abandon()
                self._sink(events.UpdateLate(round=end.committed.decided.value.round, tokens=self._tokens))
            else:
                settle(self.run_info, ctx.me, end.offer, end.committed.decided, ctx.reduction)
            self._report_bytes()

    async def leave(self) -> None:
        """Says goodbye and stops everything."""
        self._enter("leaving")
        for task in self._tasks:
            task.cancel()
        try:
            await self._announce()
        except (TimeoutError, OSError):
            self._say("could not say goodbye in the directory; the entry expires by itself")
        if self.ctx is not None:
            self.ctx.close()

    def progress(self, tokens: int, tokens_per_s: float) -> None:
        """What the trainer has done in this round, for the next announcement."""
        self._tokens, self._tokens_per_s = tokens, tokens_per_s

    def announced(self) -> Mapping[PeerId, wire.Announcement]:
        return self._known

    @property
    def keeping(self) -> Sequence[asyncio.Task[None]]:
        """What runs beside the rounds; it ends by itself only when something broke that a person must mend."""
        return self._tasks

    @property
    def head(self) -> Head:
        return self._context.head

    # --- rounds -------------------------------------------------------------------------------------------------------

    @property
    def _context(self) -> Context:
        assert self.ctx is not None, "start() comes first"
        return self.ctx

    async def _offer(self, training: "asyncio.Future[Update]", residual_N: np.ndarray) -> Offer:
        update = await training
        self._tokens = update.tokens
        self._enter("ready")
        return Offer(carry_in(update.update_N, residual_N), residual_N, update.tokens)

    async def _catch_up(self) -> bool:
        """Follows others' verified records; whether the head has moved."""
        ctx = self._context
        before = ctx.head.round
        await self._look()
        self._catch_ups += 1
        donors = self._donors([*ctx.electorate.peers, *self._known], self._catch_ups)
        catching = CatchUp(self.run_info, self._store, self._caller, donors, self._say)
        try:
            caught = await catching.run(ctx.head)
        except NetworkError as error:
            self._say(str(error))
            await asyncio.sleep(1.0)
            return False
        ctx.head = caught.head
        if ctx.head.round > before:
            ctx.begin_round()
            self._sink(events.CaughtUp(from_round=before, to_round=ctx.head.round, replayed=caught.replayed))
        return ctx.head.round > before

    def _donors(self, peers: Sequence[PeerId], attempt: int) -> list[PeerId]:
        """A few of `peers` to catch up from, others for every peer and every attempt."""

        me = self._identity.peer_id
        return few_of([peer for peer in dict.fromkeys(peers) if peer != me], MOST_DONORS, f"{me}/{attempt}")

    async def _dispatch(self, stream: AuditedStream, request: wire.Request, passport: Passport) -> None:
        match request:
            case wire.GetRecords():
                await self._donor.give_records(stream, request)
            case _ if self.ctx is None:
                await stream.send(wire.Refusal("joining", "this peer has no state yet"))
            case wire.GetState():
                await self._donor.give_state(stream, request, self.ctx.head)
            case _:
                await serve_round(self.ctx, stream, request, passport.region)

    # --- directory ----------------------------------------------------------------------------------------------------

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self._announce_now.set()

    async def _keep_announcing(self) -> None:
        while True:
            try:
                await self._announce()
            except (TimeoutError, OSError) as error:
                self._say(f"the directory did not take the announcement ({error}); trying again")
            self._announce_now.clear()
            try:
                async with asyncio.timeout(ANNOUNCE_EVERY_S):
                    await self._announce_now.wait()
            except TimeoutError:
                continue

    async def _announce(self) -> None:
        me = self._identity.peer_id
        entry = wire.Announcement(
            run_id=self.run_info.id,
            peer=me,
            region=self._passport.payload.region,
            passport=self._encoded_passport,
            addresses=self._addresses,
            round=0 if self.ctx is None else self.ctx.round,
            tokens=self._tokens,
            tokens_per_s=self._tokens_per_s,
            phase=self._phase,
            at=self._wall_clock(),
        )
        self._known[me] = entry
        sealed = wire.encode_sealed(wire.seal(self._identity, entry))
        await self._directory.announce(sealed, ANNOUNCEMENT_LIFETIME_S)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._until_next_look_s())
            await self._look()

    def _until_next_look_s(self) -> float:
        """Who leads has to know whom to wait for; others keep a view in case it becomes their turn."""
        ctx = self._context
        if ctx.ballot(max(1, ctx.attempt)).leader == ctx.me:
            return LOOK_EVERY_S
        return min(max(LOOK_EVERY_S, len(self._known) / LOOKED_AT_PER_S), LONGEST_LOOK_S)

    async def _look(self) -> None:
        """Refreshes who is known; entries that do not verify or are old are passed over."""
        try:
            found = await self._directory.announcements()
        except (TimeoutError, OSError):
            return  # the last view stays
        fresh: dict[PeerId, wire.Announcement] = {}
        passed_over, now_s = 0, self._wall_clock()
        for data in found:
            entry = read_announcement(data, self.run_info, now_s)
            if entry is None:
                passed_over += 1
            elif entry.phase != "leaving":
                known = self._known.get(entry.peer)
                fresh[entry.peer] = entry if known is None or entry.at >= known.at else known
        mine = self._known.get(self._identity.peer_id)
        if mine is not None:
            fresh[self._identity.peer_id] = mine
        self._known = fresh
        self._report_passed_over(passed_over, len(found))

    def _report_passed_over(self, count: int, entries: int) -> None:
        """Once each time that entries begin to be unusable."""
        if count and not self._passed_over:
            self._say(
                f"{count} of {entries} entries in the directory are passed over: not signed or admitted, or of another "
                f"time (more than {MAX_CLOCK_SKEW_S:.0f} s from this machine's clock)"
            )
        self._passed_over = count

    def _report_bytes(self) -> None:
        totals = {kind.value: count for kind, count in self._ledger.totals.items()}
        self._sink(events.BytesOut(round=self.head.round, by_kind=totals, peers=len(self._known)))

    def _say(self, text: str) -> None:
        self._sink(events.Note(text=text))
