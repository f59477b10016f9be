"""One peer on some network: serves others, follows the swarm's head, and runs rounds with the updates it is given.

Knows no process, no daemon and no trainer: the node process gives it libp2p and a trainer link (`process.py`), tests
give it the in-memory network and made-up updates. Every byte it sends goes through the gate's permits and the ledger.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from swarm import events
from swarm.charter import passport as passports
from swarm.charter.passport import Passport, SignedPassport
from swarm.clock import WallClock
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedDirectory, AuditedStream, AuditedTransport
from swarm.net.calls import Caller
from swarm.net.relay import Relay
from swarm.net.server import Server
from swarm.net.transport import Directory, Transport
from swarm.node.bytes_out import BytesOut
from swarm.node.chains import Chains
from swarm.node.evidence import Evidence
from swarm.node.following import EnterAnew, Following
from swarm.node.membership import Membership
from swarm.node.observatory import Observatory
from swarm.node.presence import Presence
from swarm.node.reach import Reach
from swarm.node.round_length import is_round_over
from swarm.node.work import SPENT, Trainer, Work
from swarm.round.acceptor import Acceptor
from swarm.round.context import Context
from swarm.round.outcome import Offer
from swarm.round.round import Behind, run_round
from swarm.round.ruling import read_documents
from swarm.round.scorer import Scorer
from swarm.round.service import serve_round
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.ledger import Ledger
from swarm.state.chain import load_restarts
from swarm.state.checkpoints import Checkpoints, nothing_left
from swarm.state.donor import Donor
from swarm.state.head import Head
from swarm.state.partial import Partials
from swarm.state.run import Run
from swarm.state.shelf import Shelf
from swarm.state.store import Store
from swarm.state.upload import Upload


async def _knows_no_others(attempt: int) -> Sequence[PeerId]:
    return ()


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
        downloads: Path | None = None,
        evidence: Evidence | None = None,
        observatory: Observatory | None = None,
    ) -> None:
        """`downloads` is a folder that what is downloaded outlives the process in; without it, none does.

        `evidence` is what this peer shows of its ledger; without it, nobody witnesses it.
        `observatory` answers those who watch; without it, nobody may.
        """
        self.run_info = run
        self._identity = identity
        self._store = store
        self._upload = Upload(lambda: self._transport.rates_bps[0])

        def seen(event: events.AnyEvent) -> None:
            self._upload.see(event)
            sink(event)

        self._sink = seen
        self._wall_clock = wall_clock
        self._relay = Relay()
        self._transport = AuditedTransport(transport, ledger, gate.standing)
        audited = AuditedDirectory(directory, ledger, gate.standing)
        self._presence = Presence(run, identity, passport, audited, wall_clock, self._open_round, self._say)
        self._presence.mine.addresses, self._presence.mine.is_dialable = tuple(addresses), is_dialable
        self._gate = gate
        encoded = passports.encode(passport)
        self._encoded_passport = encoded
        self._caller = Caller(self._transport, wire.Hello(run.id, encoded))
        self._donor = Donor(run, store, self._upload)
        self._evidence = evidence
        self._partials = Partials(run, downloads, self._say)
        self._checkpoints = Checkpoints(run, identity.peer_id, store, sink)
        self._following = Following(
            run, identity.peer_id, store, self._caller, self._presence, self._partials, self._sink
        )
        self._bytes_out = BytesOut(ledger, self._presence.region, self._sink)
        self._work: Work | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.ctx: Context | None = None
        self._shelf = Shelf(store, seen)
        self._membership = Membership(run, self._shelf, passport, wall_clock)
        self._server = Server(
            transport=self._transport,
            charter=run.charter,
            run_id=run.id,
            charter_bytes=charter_bytes,
            dispatch=self._dispatch,
            sink=sink,
            wall_clock=wall_clock,
            observe=None if observatory is None else observatory.answer,
            judge=self._membership.judge,
            documents=lambda: self._shelf.held,
        )

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self, seeds: Sequence[PeerId], enter_anew: EnterAnew = _knows_no_others) -> Head:
        """Opens the door, comes to the swarm's head, and announces itself.

        Args:
            seeds: peers that are connected to this one.
            enter_anew: looks for others while none of those gives a state.

        Raises:
            NetworkError: nobody could give a verified state.
            StateError: the state folder cannot be used.
        """
        await self._shelf.save(self._shelf.look(self.run_info.rules))
        self._presence.run = self.run_now
        await self._transport.serve(self._server.handle)
        await self._presence.look()
        acceptor = Acceptor(self._store)
        head = await self._following.arrive(seeds, enter_anew)
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
            is_dialable=self._presence.mine.is_dialable,
            announced=self.announced,
            wall_clock=self._wall_clock,
            link=self._transport,
            shelf=self._shelf,
            ruled=self._ruled,
            seeds=tuple(seeds),
        )
        self._membership.ctx = self.ctx
        taken = load_restarts(self._store)
        if taken:
            self.restart(taken)
        self._chains = Chains(self.ctx, self._caller, self._partials, self._checkpoints, self._sink)
        self._tasks = [
            asyncio.create_task(self._presence.keep_looking(self._leads, self._hurry)),
            asyncio.create_task(self._presence.keep_announcing()),
            asyncio.create_task(self._checkpoints.run()),
            *([] if self._evidence is None else [asyncio.create_task(self._evidence.run(self._caller))]),
            asyncio.create_task(self._chains.keep_comparing()),
            asyncio.create_task(self._membership.keep(self.ctx)),
        ]
        return head

    async def come_up(self) -> None:
        """Follows what was committed since `start`: trainers import for seconds, and an old base wastes their steps."""
        await self._following.follow(self._context, self._chains)

    async def run(self, trainer: Trainer, max_rounds: int | None) -> None:
        """Takes part in rounds until the head has reached `max_rounds`, or for ever."""
        ctx = self._context
        left = self._checkpoints.left_over_at(ctx.head)
        if ctx.masks.spent_before >= ctx.round:
            if left.carried_tokens:
                late = events.UpdateLate(round=ctx.round, tokens=left.carried_tokens, kept=False, reason=SPENT)
                self._sink(late)
            left = nothing_left(ctx.run.grid)  # it went into a secure sum that may have been opened
        residual_N = left.residual_N
        work = self._work = Work(ctx.run, ctx.me, trainer, residual_N, self._sink, left.carried_tokens)
        if left.round < ctx.head.round:
            work.forget_carried(ctx.head.round)
        work.spent_round = ctx.masks.spent_before
        ctx.scorer = Scorer(lambda base_N: trainer.score(base_N, ctx.head.base_N))
        while max_rounds is None or ctx.head.round < max_rounds:
            read_documents(ctx)
            ctx.train_on = partial(self._train_on, work) if ctx.run.charter.quorum.island else None
            ctx.start_over = partial(self._start_over, work)
            last = ctx.archive.committed(ctx.head.round)
            work.begin(ctx.head, None if last is None else last.roster)
            self._presence.mine.tokens = 0
            self._enter("training")
            await self._checkpoints.keep(ctx.head, residual_N, work.carried_tokens)
            self._pending = asyncio.ensure_future(self._offer(self._bring(work, residual_N)))
            opened = ctx.round
            try:
                end = await run_round(ctx, self._pending)
                # That others are ahead is a claim until their records prove it: the inner steps go on meanwhile.
                while isinstance(end, Behind) and not await self._following.follow(ctx, self._chains):
                    ctx.news.doubt_claims()
                    end = await run_round(ctx, self._pending)
                offer = await work.ended(self._pending, end.offer)
            finally:
                self._pending.cancel()
            decided = ctx.archive.committed(opened)
            if offer is not None and decided is not None:
                work.counted(offer, decided, ctx.reduction, head=ctx.head.round)
            elif offer is None and decided is not None and ctx.head.round == opened:
                await work.missed(decided, self._presence.mine.tokens)
            else:
                await work.lost(opened, offer, self._presence.mine.tokens)
            await work.collect(opened, self._presence.mine.tokens)
            last = ctx.archive.committed(ctx.head.round)
            self._bytes_out.report(ctx.head.round, self._presence.known, last)
            if self._evidence is not None:
                peers = (ctx.electorate.voters | self._presence.known.keys()) - ctx.electorate.undialable
                self._evidence.round_ended(ctx.head.round, peers)
        await self._checkpoints.keep(ctx.head, residual_N, work.carried_tokens)

    def restart(self, documents: tuple[bytes, ...]) -> None:
        """Hands this peer the founders' restarts from its user.

        Raises:
            ProtocolError: they are not good, or another restart of the same term was taken.
        """
        self._context.told_restarts(documents)

    async def leave(self) -> None:
        """Says goodbye, waits for the last checkpoint, and stops everything."""
        self._enter("leaving")
        if self._work is not None and self.ctx is not None:
            self._work.leave(self.ctx.round, self._presence.mine.tokens)
        try:
            await self._presence.announce()
        except (TimeoutError, OSError):
            self._say("could not say goodbye in the directory; the entry expires by itself")
        try:
            await self._checkpoints.finish()
            if self._evidence is not None:
                await self._evidence.finish(self._caller)
        finally:
            for task in self._tasks:
                task.cancel()
        if self.ctx is not None:
            self.ctx.close()

    def progress(self, tokens: int, tokens_per_s: float) -> None:
        """What the trainer has done in this round, for the next announcement."""
        self._presence.mine.tokens, self._presence.mine.tokens_per_s = tokens, tokens_per_s

    def stand(self, reach: Reach) -> None:
        """How others reach this peer from now on."""
        mine = self._presence.mine
        mine.is_dialable, mine.addresses, mine.relays = reach.is_dialable, reach.addresses, reach.relays
        if self.ctx is not None:
            self.ctx.is_dialable = reach.is_dialable
        self._presence.tell()

    def announced(self) -> Mapping[PeerId, wire.Announcement]:
        return self._presence.known

    @property
    def keeping(self) -> Sequence[asyncio.Task[None]]:
        """What runs beside the rounds; it ends by itself only when something broke that a person must mend."""
        return self._tasks

    @property
    def head(self) -> Head:
        return self._context.head

    def load_record(self, round_number: int) -> bytes | None:
        """A record of this peer's chain; None if it is not here."""
        return self._store.load_record(round_number)

    # --- rules --------------------------------------------------------------------------------------------------------

    @property
    def run_now(self) -> Run:
        """Under the rules in force."""
        return self._membership.run

    def _ruled(self, run: Run) -> None:
        self._presence.run = run
        self._gate.follow(min_contributors=run.least_members, licences=run.charter.data.licences)
        if self._work is not None:
            self._work.run = run

    # --- rounds -------------------------------------------------------------------------------------------------------

    @property
    def _context(self) -> Context:
        assert self.ctx is not None, "start() comes first"
        return self.ctx

    async def _bring(self, work: Work, residual_N: np.ndarray) -> Offer:
        if await work.take_late(self.head):
            # A round may be long: what was made in the last one is not lost with this one's steps.
            await self._checkpoints.keep_residual(self.head.round, residual_N, work.carried_tokens)
        return await work.offer(self.head)

    def _train_on(self, work: Work, offer: Offer) -> "asyncio.Future[Offer] | None":
        if work.must_stay(offer):
            if not work.train_beside():
                return None
            self._presence.mine.tokens = 0
            return self._pending
        self._pending = asyncio.ensure_future(self._offer(work.train_on(offer)))
        return self._pending

    def _start_over(self, work: Work) -> "asyncio.Future[Offer]":
        self._pending = asyncio.ensure_future(self._offer(work.start_over(self.head, self._presence.mine.tokens)))
        self._enter("training")
        return self._pending

    async def _offer(self, coming: Coroutine[None, None, Offer]) -> Offer:
        offer = await coming
        self._presence.mine.tokens = offer.tokens
        self._presence.mine.privacy = None if offer.receipt is None else offer.receipt.spent
        self._enter("ready")
        return offer

    async def _dispatch(self, stream: AuditedStream, request: wire.Request, passport: Passport) -> None:
        match request:
            case wire.GetRecords():
                await self._donor.give_records(stream, request)
            case wire.ShowHead() if self._evidence is not None:
                await self._evidence.serve(stream, request)
            case wire.Park() | wire.RelayTo():
                await self._relay.attend(stream, request, is_observer=passport.role == "observer")
            case _ if self.ctx is None:
                await stream.send(wire.Refusal("joining", "this peer has no state yet"))
            case wire.GetState():
                await self._donor.give_state(stream, request, self.ctx.head)
            case _:
                await serve_round(self.ctx, stream, request, passport.region)

    # --- directory ----------------------------------------------------------------------------------------------------

    def _enter(self, phase: str) -> None:
        self._presence.enter(phase)

    def _open_round(self) -> int:
        return 0 if self.ctx is None else self.ctx.round

    def _leads(self) -> bool:
        ctx = self._context
        return ctx.ballot(max(1, ctx.attempt)).leader == ctx.me

    def _hurry(self) -> None:
        """Ends this peer's inner steps when the announcements say that the round is over, whatever it had planned."""
        if self.ctx is None or self._work is None:
            return
        target = self.run_info.charter.training.target_tokens
        open_round, electors = self.ctx.round, self.ctx.electorate.peers
        if is_round_over(target, open_round, electors, self._presence.known, self._wall_clock()):
            self._work.hurry()

    def _say(self, text: str) -> None:
        self._sink(events.Note(text=text))
