"""The driver of a secure sum in one attempt: statements go out and come in on the attempt's own lanes.

Every lane, whichever end opened it, carries what this peer says and what it has heard from others, each statement once:
so a self-mask that reached anybody reaches all that sum its parts, whether its author lives or not. Statements are
verified before they count or are passed on. Anything that cannot be completed ends the attempt, and with it all lanes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from swarm import events
from swarm.errors import ProtocolError, StateError
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.transport import Buffer, StreamLostError
from swarm.round.plan import Plan
from swarm.round.secure import phases
from swarm.round.secure.circles import Circles
from swarm.round.secure.phases import Code
from swarm.state.roster import Roster
from swarm.state.run import Run
from swarm.vector.grid import Vector
from swarm.vector.masks import KEY_BYTES, SEED_BYTES, chunk_key, pair_secret

Statement = wire.KeptIs | wire.AllKeptIs | wire.SelfMaskIs
"""What a lane carries either way beside parts and results."""
Random = Callable[[int], bytes]
"""Bytes from the operating system's generator; tests may fix them."""


@dataclass(frozen=True)
class Secrets:
    """Of one attempt; both are made for it and end with it."""

    private: X25519PrivateKey
    seed: bytes
    """The self-mask, until it is revealed."""
    rounding: bytes
    """What stochastic rounding is drawn from. Never sent: it would tell the part of a code that was rounded away."""

    @classmethod
    def fresh(cls, random: Random) -> "Secrets":
        return cls(X25519PrivateKey.from_private_bytes(random(KEY_BYTES)), random(SEED_BYTES), random(SEED_BYTES))

    @property
    def mask_key(self) -> bytes:
        return self.private.public_key().public_bytes_raw()


class Stage:
    """One peer's part in the secure sums of one attempt."""

    def __init__(
        self,
        *,
        run: Run,
        roster: Roster,
        plan: Plan,
        seat: int,
        circles: Circles,
        ranges_K: Vector,
        secrets: Secrets | None,
        seal: Callable[[wire.Frame], wire.Sealed],
        spend: Callable[[], Awaitable[None]],
        sink: Callable[[events.AnyEvent], None],
    ) -> None:
        """`secrets` is None for a peer that gives nothing; `spend` makes it durable that its update is spent."""
        self.circles = circles
        self.ranges_K = ranges_K
        self.circle = circles.summed_by(plan.neighbours(seat))
        self.on_change: Callable[[], None] = lambda: None
        """Called when a self-mask has come."""
        self.on_end: Callable[[str], None] = lambda reason: None
        """Called once, when the sum has failed."""
        self._run = run
        self._roster = roster
        self._plan = plan
        self._seat = seat
        self._secrets = secrets
        self.rounding = b"" if secrets is None else secrets.rounding
        """Outlives the attempt's masks: what a part has lost may have to be worked out again after the commit."""
        self._pairs: dict[int, bytes] = {}
        self._seal = seal
        self._spend = spend
        self._sink = sink
        self._said: list[tuple[int, Statement]] = []
        """What every lane carries, with its author's seat."""
        self._outboxes: dict[asyncio.Queue[Statement], int] = {}
        self._sent: dict[int, blake3.blake3] = {}
        self._held: dict[int, tuple[blake3.blake3, int]] = {}
        """By seat: of what has come from it, and how many chunks have yet to."""
        self._revealing: asyncio.Task[None] | None = None
        chunks = range(run.grid.chunks)
        due = {plan.upstream(seat, chunk, frozenset()) for chunk in chunks if seat in circles.givers}
        near = plan.neighbours(seat)
        self._phases = phases.Phases(
            seat=seat if seat in circles.givers else None,
            givers=circles.givers,
            due=frozenset(above for above in due if above is not None and (circles.is_across or above in near)),
        )

    def start(self) -> None:
        """Derives the secrets of every pair, and does what is due at once."""
        if self._secrets is not None and self._phases.seat is not None:
            for other in sorted(self.circle - {self._seat}):
                try:
                    self._pairs[other] = pair_secret(self._secrets.private, self._roster.seats[other].mask_key)
                except ProtocolError:
                    self.fail(Code.BAD_KEY, f"the mask key of {self._roster.peers[other]} gives no secret")
                    return
        self._do(phases.begin(self._phases))

    @property
    def seat(self) -> int:
        """This peer's place in the roster."""
        return self._seat

    def ranges(self, chunk: int) -> Vector:
        """The ranges of a chunk's blocks, float32 [K]."""
        bounds, codes = self._run.grid.bounds(chunk), self._run.secure_codes
        begin = bounds.start // codes.block_elements
        return self.ranges_K[begin : begin + codes.blocks(bounds.stop - bounds.start)]

    # --- keys ---------------------------------------------------------------------------------------------------------

    @property
    def gives(self) -> bool:
        """Whether the others count on this peer's parts."""
        return self._phases.seat is not None

    @property
    def is_over(self) -> bool:
        return self._phases.ended is not None

    def pair_keys(self, chunk: int) -> Mapping[int, bytes]:
        """By the other's seat: the key of the stream that a pair shares for a chunk."""
        return {other: chunk_key(secret, self.circles.group, "pair", chunk) for other, secret in self._pairs.items()}

    def own_key(self, chunk: int) -> bytes:
        """The key of this peer's self-mask of a chunk. Raises ProtocolError once there is none any more."""
        if self._secrets is None:
            raise ProtocolError("the secure sum is over")
        return chunk_key(self._secrets.seed, self.circles.group, "self", chunk)

    def self_keys(self, chunk: int) -> Mapping[int, bytes]:
        """Of everybody in the circle whose self-mask is known."""
        return {seat: chunk_key(seed, self.circles.group, "self", chunk) for seat, seed in self._seeds.items()}

    @property
    def unknown(self) -> frozenset[int]:
        """Seats of the circle whose self-mask has yet to come."""
        return self.circle - self._seeds.keys()

    @property
    def _seeds(self) -> dict[int, bytes]:
        return self._phases.seeds

    # --- lanes --------------------------------------------------------------------------------------------------------

    def note_sent(self, owner: int, chunk: int, data: Buffer) -> None:
        """A masked part, or sum, goes to an owner, who will sign for it."""
        digest = self._sent.setdefault(owner, blake3.blake3())
        digest.update(chunk.to_bytes(8, "little"))
        digest.update(data)

    def note_held(self, seat: int, chunk: int, data: Buffer, outbox: "asyncio.Queue[Statement]") -> None:
        """One has come; the last one of a seat is answered with the receipt for all of them."""
        if not (self.circles.is_across or seat in self._plan.neighbours(self._seat)):
            return  # a mean: nothing is masked where it comes from any more
        digest, left = self._held.get(seat) or (blake3.blake3(), self._chunks_from(seat))
        digest.update(chunk.to_bytes(8, "little"))
        digest.update(data)
        self._held[seat] = digest, left - 1
        if left == 1 and not self.is_over:
            sender = self._roster.peers[seat]
            receipt = wire.PartsKept(self._run.id, self.circles.group, sender, digest.digest())
            outbox.put_nowait(wire.KeptIs(self._seal(receipt)))

    def _chunks_from(self, seat: int) -> int:
        chunks = range(self._run.grid.chunks)
        return sum(self._plan.upstream(seat, chunk, frozenset()) == self._seat for chunk in chunks)

    def outbox(self, seat: int) -> "asyncio.Queue[Statement]":
        """Of a lane to or from a seat: all that was said so far, and then whatever is."""
        outbox: asyncio.Queue[Statement] = asyncio.Queue()
        self._outboxes[outbox] = seat
        for author, statement in self._said:
            self._put(outbox, seat, author, statement)
        return outbox

    async def tell(self, stream: AuditedStream, outbox: "asyncio.Queue[Statement]") -> None:
        """Sends what is put there, until cancelled or the other end is gone, which its reader sees as well."""
        try:
            while True:
                statement = await outbox.get()
                if self.is_over:
                    return
                await stream.send(statement)
        except StreamLostError:
            return
        finally:
            self._outboxes.pop(outbox, None)

    def hear(self, seat: int, statement: Statement) -> None:
        """What came on the lane of a seat.

        Raises:
            ProtocolError: it is not signed, or nothing that its author may say.
        """
        match statement:
            case wire.KeptIs(sealed):
                self._hear_receipt(seat, sealed)
            case wire.AllKeptIs(sealed):
                said = wire.unseal(sealed, wire.AllKept)
                author = self._author(sealed, said.run_id)
                if self._is_of_group(author, said.group) and author not in self._phases.words:
                    self._say(author, statement)
                    self._do(phases.after(self._phases, phases.Word(author)))
            case wire.SelfMaskIs(sealed):
                revealed = wire.unseal(sealed, wire.SelfMask)
                author = self._author(sealed, revealed.run_id)
                if author not in self.circle or len(revealed.seed) != SEED_BYTES:
                    raise ProtocolError("a self-mask that is none, or of another circle")
                if self._is_of_group(author, revealed.group) and self._seeds.get(author) != revealed.seed:
                    self._say(author, statement)
                    self._do(phases.after(self._phases, phases.Seed(author, revealed.seed)))
                    self.on_change()

    def _hear_receipt(self, seat: int, sealed: wire.Sealed) -> None:
        receipt = wire.unseal(sealed, wire.PartsKept)
        author = self._author(sealed, receipt.run_id, anybody=True)
        if (author, receipt.sender) != (seat, self._roster.peers[self._seat]):
            raise ProtocolError("a receipt of or for somebody else")
        if not self._is_of_group(seat, receipt.group):
            return
        sent = self._sent.get(seat)
        if sent is None or sent.digest() != receipt.digest:
            self.fail(Code.BAD_RECEIPT, f"{self._roster.peers[seat]} signed for other parts than it was sent")
            return
        self._do(phases.after(self._phases, phases.Receipt(seat)))

    def _author(self, sealed: wire.Sealed, run_id: str, *, anybody: bool = False) -> int:
        author = self._roster.index.get(sealed.author)
        if author is None or run_id != self._run.id or not (anybody or author in self.circles.givers):
            raise ProtocolError("a statement of a secure sum by a peer that has no part in it")
        return author

    def _is_of_group(self, author: int, group: bytes) -> bool:
        if group != self.circles.group:
            peer = self._roster.peers[author]
            self.fail(Code.OTHER_GROUP, f"{peer} is in another roster, or goes by other ranges, in the same attempt")
        return not self.is_over

    # --- the machine's wishes -----------------------------------------------------------------------------------------

    def fail(self, code: Code, reason: str) -> None:
        """Ends this secure sum, and with it the attempt; only the first failure counts."""
        self._do(phases.after(self._phases, phases.Failure(code)), reason)

    def close(self) -> None:
        """Forgets the secrets; what has not been revealed never will be."""
        self._secrets = None
        self._pairs.clear()
        if self._revealing is not None:
            self._revealing.cancel()

    def _do(self, step: tuple[phases.Phases, tuple[phases.Todo, ...]], reason: str = "") -> None:
        self._phases, todo = step
        for each in todo:
            match each:
                case phases.SayAllKept():
                    word = wire.AllKept(self._run.id, self.circles.group)
                    self._say(self._seat, wire.AllKeptIs(self._seal(word)))
                case phases.Reveal():
                    self._revealing = asyncio.create_task(self._reveal())
                case phases.End(code, is_spent):
                    self.close()
                    self._sink(
                        events.SecureSumEnded(
                            round=self._roster.round,
                            attempt=self._roster.ballot.attempt,
                            code=code,
                            reason=reason,
                            is_spent=is_spent,
                        )
                    )
                    self.on_end(f"the secure sum failed ({code}): {reason}")

    async def _reveal(self) -> None:
        assert self._secrets is not None
        try:
            await self._spend()
        except StateError as error:
            self.fail(Code.TOO_LATE, f"this peer cannot note that its update is spent: {error}")
            return
        if self.is_over:
            return
        seed = self._secrets.seed
        self._say(self._seat, wire.SelfMaskIs(self._seal(wire.SelfMask(self._run.id, self.circles.group, seed))))
        self._do(phases.after(self._phases, phases.Seed(self._seat, seed)))
        self.on_change()

    def _say(self, author: int, statement: Statement) -> None:
        self._said.append((author, statement))
        for outbox, seat in list(self._outboxes.items()):
            self._put(outbox, seat, author, statement)

    def _put(self, outbox: "asyncio.Queue[Statement]", seat: int, author: int, statement: Statement) -> None:
        """Not back to its author; and a self-mask to those only who sum the same parts."""
        is_near = self.circles.is_across or seat in self._plan.neighbours(author)
        if seat != author and (is_near or not isinstance(statement, wire.SelfMaskIs)):
            outbox.put_nowait(statement)
