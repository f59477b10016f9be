"""What the parts of a round share on one peer: who it is, where it stands, and what others told it meanwhile."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Set
from dataclasses import dataclass, field
from statistics import median

from swarm import events
from swarm.charter.restart import Restart
from swarm.clock import WallClock, monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedTransport
from swarm.net.calls import Caller
from swarm.net.transport import StreamLostError
from swarm.round.acceptor import Acceptor
from swarm.round.deadlines import DeadlineBook, Phase
from swarm.round.early import StillTraining
from swarm.round.heard import Heard
from swarm.round.island import Island
from swarm.round.news import MAX_STEP, News
from swarm.round.outcome import Offer
from swarm.round.reduction import Reduction
from swarm.round.ruling import adopt_rules
from swarm.round.scorer import Scorer
from swarm.round.seats import Seats
from swarm.round.secure.standing import Standing
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.permit import Permit
from swarm.state.archive import Archive
from swarm.state.chain import load_restarts, news_of
from swarm.state.electorate import Electorate
from swarm.state.head import Head
from swarm.state.records import Value, kept_rules, round_of, rules_after, value_digest
from swarm.state.restarts import read_restarts
from swarm.state.roster import Roster, read_roster
from swarm.state.run import Run
from swarm.state.shelf import Shelf
from swarm.state.store import Store
from swarm.vector.recycle import Recycler

SHORT_CALL_S = 3.0
"""Limit for one small question to one peer."""
_LONG_CEILINGS = 10
_LONG_ROUNDS = 3
"""A leader waits so many ceilings of the charter for those at their inner steps, or so many usual rounds if longer."""
_WORKING_PHASES = ("training", "ready")
"""What peers announce that are about to join a round."""
SLOWEST_BYTES_PER_S = 500_000.0
"""A link slower than this is not waited for in a peer's very first round, when nothing has been observed yet."""


@dataclass
class Context:
    """One peer's side of the rounds; `head` moves when a round commits."""

    run: Run
    """Under the rules in force for the open round."""
    identity: Identity
    passport: bytes
    caller: Caller
    gate: Gate
    store: Store
    acceptor: Acceptor
    head: Head
    sink: Callable[[events.AnyEvent], None]
    is_dialable: bool
    announced: Callable[[], Mapping[PeerId, wire.Announcement]]
    """The freshest verified announcement of each peer, this one's included."""
    wall_clock: WallClock
    link: AuditedTransport
    """Measures, and says, what this peer's link carries."""
    shelf: Shelf
    """Amendments and revocations."""
    ruled: Callable[[Run], None]
    """Told when other rules are in force, before anything is judged by them."""
    seeds: tuple[PeerId, ...] = ()
    """Those this peer joined through: what it learns of the rules goes to them as well, for those who come later."""
    book: DeadlineBook = field(init=False)
    vectors: Recycler = field(default_factory=Recycler)
    seats: Seats = field(default_factory=Seats)
    heard: Heard = field(default_factory=Heard)
    news: News = field(default_factory=News)
    reduction: Reduction | None = None
    """This peer's reduction of the latest attempt that had a roster; it serves others until the next one."""
    attempt: int = 0
    """The attempt of the open round this peer is in or was in last; 0 before its first."""
    island: Island = field(default_factory=Island)
    train_on: "Callable[[Offer], asyncio.Future[Offer] | None] | None" = None
    """Sends the trainer on, from this offer or beside it, if it is not at work; None where no island may train."""
    start_over: "Callable[[], asyncio.Future[Offer]] | None" = None
    """Trains anew from the head, with other batches, because an offer was spent in vain."""
    scorer: Scorer | None = None
    """What this peer says of candidate bases; None where it has no held-out data or nobody asks."""
    step_cpu_s: float = 0.0
    """Processor seconds of the last outer step: for those who measure, and in no event, since runs differ in it."""
    is_forming: bool = False
    """Whether the current attempt has no roster yet, so that a later attempt may still call this peer away."""
    is_attempting: bool = False
    brings: tuple[bytes, ...] = ()
    """Documents that are in force here and on no record yet: the next value brings them."""
    outlaws: frozenset[PeerId] = frozenset()
    """Electors whose passport on the last record is refused by now: nobody waits for them, or follows them."""
    archive: Archive = field(init=False)
    masks: Standing = field(init=False)
    """What this peer has for secure sums."""
    absences: Counter[PeerId] = field(default_factory=Counter[PeerId])
    """Rosters in a row without a peer that said it works on their round."""
    early_s: float = 0.0
    """Until when, in the open round, too many were at their inner steps for anything to come of it; 0 if never."""
    _round_began_s: float = field(default_factory=monotonic_s)
    _rounds_s: deque[float] = field(default_factory=lambda: deque[float](maxlen=5))
    """How long the last rounds took here."""
    _still_training: StillTraining = field(default_factory=StillTraining)
    _background: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def __post_init__(self) -> None:
        self.book = DeadlineBook(self.run.charter.deadlines)
        self.archive = Archive(self.run, self.store)
        self.masks = Standing(self.store, self.archive)
        adopt_rules(self)

    @property
    def me(self) -> PeerId:
        return self.identity.peer_id

    @property
    def round(self) -> int:
        """The open round: the one after the head."""
        return self.head.round + 1

    @property
    def electorate(self) -> Electorate:
        return self.head.electorate

    def half_here_s(self, ballot: wire.Ballot) -> float | None:
        """When half of the electorate was at this leader's table: from then on the others are waited for.

        Half of all peers join earlier than a peer's own join, in the middle; so what each of them observes from its own
        join to the last is what a leader has to wait from here, however early the very first one came.
        """
        electors = self.electorate.peers
        return self.seats.waiting_since_s(self.round, ballot, electors, max(1, len(electors) // 2))

    def at_inner_steps(self, here: Set[PeerId] = frozenset(), dead: Set[PeerId] = frozenset()) -> frozenset[PeerId]:
        """The electors that say they are still at their inner steps, if a quorum needs them.

        `here` are those that have come, `dead` those that do not answer, whatever they announce.
        """
        voters, now_s = self.electorate.voters - dead, monotonic_s()
        training = self._still_training.of_round(voters, self.announced(), self.round, now_s) - here
        quorum = self.electorate.has_quorum
        if not training or quorum(voters - training) or not quorum(voters):
            return frozenset()
        self.early_s = now_s
        return training

    def unheard(self) -> frozenset[PeerId]:
        """Electors that announce nothing, or nothing any more; witnesses never do."""
        return self.electorate.voters - self.electorate.witnesses - self.announced().keys() - {self.me}

    def awaited(self, here: Set[PeerId], dead: Set[PeerId] = frozenset()) -> frozenset[PeerId]:
        """As `at_inner_steps`, for a leader, on whom everybody waits: not for ever.

        Those that it has waited for in vain hang, whatever they announce, until they have given an update again.
        """
        training = self.at_inner_steps(here, dead)
        usual_s = median(self._rounds_s) if self._rounds_s else 0.0
        longest_s = max(_LONG_CEILINGS * self.run.charter.deadlines.ceiling_s, _LONG_ROUNDS * usual_s)
        if monotonic_s() - self._round_began_s <= longest_s:
            return training
        self._still_training.doubted |= training
        return frozenset()

    def at_work(self) -> set[PeerId]:
        """Those that announce they work on the open round, or still on the last one, unless they were missed in it."""
        return {
            peer
            for peer, entry in self.announced().items()
            if entry.phase in _WORKING_PHASES
            and (entry.round == self.round or (entry.round == self.round - 1 and not self.absences[peer]))
        }

    def ballot(self, attempt: int) -> wire.Ballot:
        return self.electorate.ballot(self.run.id, self.round, attempt)

    def limit_s(self, phase: Phase, attempt: int) -> float:
        guess_s = None
        if phase not in (Phase.JOIN, Phase.SCORE):  # how long a model takes to score is nothing that can be guessed
            both_ways_s = 2 * self.run.encoded_bytes_total / SLOWEST_BYTES_PER_S
            guess_s = 5 * self.run.charter.deadlines.floor_s + both_ways_s
        return self.book.limit_s(phase, attempt, guess_s)

    def seal(self, statement: wire.Frame) -> wire.Sealed:
        return wire.seal(self.identity, statement)

    def sealed_join(self, ballot: wire.Ballot, offer: Offer | None) -> wire.Sealed:
        """This peer's join; the promise it carries must be durable already."""
        gives, mask_key = offer is not None, b""
        if offer is not None and self.run.secure is not None:
            gives = not (offer.is_spent or self._withholds(offer)) and self.masks.may_give(self.run, self.round)
            mask_key = self.masks.mask_key(ballot) if gives else b""
        return self.seal(
            wire.Join(
                run_id=self.run.id,
                round=self.round,
                ballot=ballot,
                base_digest=self.head.state_digest,
                passport=self.passport,
                contributes=gives,
                dialable=self.is_dialable,
                tokens=0 if offer is None else offer.tokens,
                up_bps=self.link.rates_bps[0],
                down_bps=self.link.rates_bps[1],
                accepted=self.acceptor.accepted_in(self.round) if self.me in self.electorate.voters else None,
                tokens_per_s=0.0 if offer is None else offer.tokens_per_s,
                mask_key=mask_key,
                rules=self.run.rules.in_force,
                privacy=None if offer is None or offer.receipt is None else offer.receipt.spent,
            )
        )

    def _withholds(self, offer: Offer) -> bool:
        """Whether the gate keeps an update back from a secure sum, whoever is in it; asked before any of them waits."""
        if not offer.is_withheld:
            denied = self.gate.keep(
                round_number=self.round,
                update_N=offer.x_N,
                grid=self.run.grid,
                max_rms=self.run.charter.reduce.max_rms,
                receipt=offer.receipt,
            )
            if denied is not None:
                offer.is_withheld = True
                event = events.UpdateDenied(
                    round=self.round, code=denied.code, reason=denied.reason, policy=denied.policy
                )
                self.sink(event)
        return offer.is_withheld

    def check_accepted(self, ballot: wire.Ballot, accepted: wire.Accepted | None) -> None:
        """What a voter says it has voted for when it promises `ballot`; a vote nobody can have cast is no promise.

        Raises:
            ProtocolError: its ballot is none or later than the promise, or its value cannot follow this head.
        """
        if accepted is None:
            return
        if accepted.ballot > ballot or not self.electorate.has_ballot(self.run.id, self.round, accepted.ballot):
            raise ProtocolError("a vote in a ballot that is none, or later than the promise it comes with")
        self.head.mark.read(self.run, accepted.value)

    def call_to(self, attempt: int) -> None:
        """Somebody is already in this attempt of the open round: this peer follows, a few attempts at a time."""
        reached = min(attempt, self.attempt + MAX_STEP)
        if reached > self.news.called_attempt:
            self.news.called_attempt = reached
            self.news.changed.fire()

    def enter_attempt(self, attempt: int) -> None:
        """This peer is in an attempt now and will lead no earlier one: who waits for that is sent away to ask again."""
        self.attempt = attempt
        adopt_rules(self)
        self.seats.clear_before(self.round, attempt)

    def begin_round(self) -> None:
        """The head has moved: what belonged to earlier rounds is forgotten."""
        now_s = monotonic_s()
        self._rounds_s.append(now_s - self._round_began_s)
        self._round_began_s = now_s
        self.attempt = 0
        self.early_s = 0.0
        self.news.record = None
        self.news.called_attempt = 0
        if self.island.is_said:
            self.sink(events.IslandEnded(round=self.head.round, updates=self.island.updates))
        self.island = Island()
        self.seats.clear_before(self.round, 0)
        adopt_rules(self)

    def told_status(self, peer: PeerId, status: wire.Status) -> None:
        """Where another peer says it is."""
        if status.term > self.electorate.term:
            self.in_background(self._ask_restarts(peer))
        elif status.term < self.electorate.term:
            return  # it has yet to hear of the founders' restart
        if status.head > self.round:
            self.news.told_ahead(status.head)
        elif status.head == self.head.round and peer in self.electorate.peers - self.outlaws:
            self.call_to(status.attempt)

    def told_record(self, record: bytes) -> None:
        """Somebody says a round is committed. Raises ProtocolError if it is the open one and the record is not good."""
        round_number = round_of(record)
        if round_number == self.round:
            self.head.mark.verify(self.run, record)
            self.news.record = record
            self.news.changed.fire()
        elif round_number > self.round:
            self.news.told_ahead(round_number)

    def told_restarts(self, documents: tuple[bytes, ...]) -> None:
        """Somebody hands over founders' restarts.

        Raises:
            ProtocolError: they are not good, or another restart of the same term was taken.
        """
        newest = news_of(self.run, documents, self.electorate.term, load_restarts(self.store))
        if newest is None or (self.news.restarts and newest.term <= self._told_restart.term):
            return
        self.news.restarts = documents
        if newest.round > self.head.round:
            self.news.told_ahead(newest.round)
        self.news.changed.fire()

    @property
    def _told_restart(self) -> Restart:
        return read_restarts(self.news.restarts, self.run)

    @property
    def is_restart_due(self) -> bool:
        """Whether a restart was told that names a round this peer has come to, on its chain or on another."""
        return bool(self.news.restarts) and self._told_restart.round <= self.head.round

    # --- rules --------------------------------------------------------------------------------------------------------

    @property
    def is_in_group(self) -> bool:
        """Whether this peer is in a group that has its roster: that one ends under the rules it began with."""
        return self.is_attempting and not self.is_forming

    def has_seat(self, peer: PeerId) -> bool:
        """Whether a peer is in the group that this peer is in now, or was in last in this attempt."""
        if self.reduction is None:
            return False
        roster = self.reduction.roster
        return (roster.round, roster.ballot.attempt) == (self.round, self.attempt) and peer in roster.index

    @property
    def is_behind(self) -> bool:
        return self.news.known_head >= self.round or self.news.better is not None

    def run_of(self, value: Value) -> Run:
        """The run under the rules that a value which follows this head was made under: those in force may be newer.

        Raises:
            ProtocolError: a document in it is not good, or it says something else than follows.
        """
        return self.run.under(rules_after(self.head.rules, value))

    def value_with(self, round_number: int, digest: bytes) -> tuple[Value, Roster] | None:
        """A value this peer has voted for in the open round or seen committed, by its digest."""
        accepted = self.acceptor.accepted_in(round_number)
        if accepted is not None and value_digest(accepted.value) == digest:
            value = wire.decode(accepted.value, Value)
            run = self.run.under(kept_rules(self.run, self.store.load_record, value))
            return value, read_roster(value.roster, run, value.base_digest)
        kept = self.archive.committed(round_number)
        return None if kept is None or kept.digest != digest else (kept.value, kept.roster)

    def saw_roster(self, roster: Roster) -> None:
        """Remembers who announced that it works on this round and is not in its roster."""
        announced = self.announced()
        self._still_training.doubted -= {seat.peer for seat in roster.seats if seat.contributes}
        for peer in self.at_work() - roster.index.keys():
            self.absences[peer] += 1
        for peer in [peer for peer in self.absences if peer in roster.index or peer not in announced]:
            del self.absences[peer]

    def use_reduction(self, reduction: Reduction) -> None:
        """The reduction of a new attempt, after `end_reduction`."""
        self.reduction = reduction
        self.news.changed.fire()

    def end_reduction(self) -> None:
        """The last attempt's reduction stops serving others, and its memory may be used again."""
        if self.reduction is not None:
            self.reduction.close()
            self.reduction = None

    async def push(self, peers: Iterable[PeerId], request: wire.Frame, permit: Permit | None = None) -> None:
        """Tells peers something that needs no answer, all at once; who cannot be reached is passed over."""
        await asyncio.gather(*(self._push_to(peer, request, permit) for peer in peers))

    async def _push_to(self, peer: PeerId, request: wire.Frame, permit: Permit | None) -> None:
        try:
            stream = await self.caller.open(peer, request, SHORT_CALL_S, permit)
        except StreamLostError:
            return
        try:
            async with asyncio.timeout(SHORT_CALL_S):
                await stream.receive(wire.Missing, wire.MAX_REQUEST_BYTES)  # the other end just closes once it has read
        except (StreamLostError, ProtocolError, TimeoutError):
            return
        finally:
            stream.close()

    async def _ask_restarts(self, peer: PeerId) -> None:
        """Gets the restarts of a peer that is in a later term."""
        try:
            answer = await self.caller.ask(
                peer, wire.GetRestarts(), wire.RestartsAre, wire.MAX_CONTROL_BYTES, SHORT_CALL_S
            )
            if answer.documents:
                self.told_restarts(answer.documents)
        except (StreamLostError, ProtocolError):
            return  # the next one to say that it is in a later term is asked again

    def in_background(self, work: Coroutine[None, None, None]) -> None:
        """Runs work that nobody waits for; it ends with this peer."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def close(self) -> None:
        """Ends all that is still running for rounds."""
        for task in self._background:
            task.cancel()
        self.end_reduction()
