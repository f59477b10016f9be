"""Who is in one attempt: a leader's sealed list of sealed joins, checked, in one order for everybody."""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import blake3

from swarm.charter import passport as passports
from swarm.charter.admission import Admitted, Refused
from swarm.charter.epochs import RulesId
from swarm.charter.passport import SignedPassport
from swarm.errors import PassportError, ProtocolError, RulesApartError
from swarm.identity.peer_id import PeerId
from swarm.identity.remembered import Remembered
from swarm.net import wire
from swarm.net.transport import Buffer
from swarm.sovereignty.privacy import fault_of
from swarm.state.run import Run
from swarm.state.voices import Voices, voices
from swarm.vector.masks import KEY_BYTES

MAX_BPS = 2**43
"""Bits per second a join may claim; only how chunks are shared out depends on it."""
_REMEMBERED_BITMAPS = 64
_REMEMBERED_ROSTERS = 4
"""One round shows each peer the same roster up to four times: closed, proposed, voted for, on record."""
_REMEMBERED_ROSTER_BYTES = 8 * 1024 * 1024
"""Longer ones are read anew each time; 4096 joins are about 5 MB."""
_REMEMBERED_JOINS = 2
"""Of one author. A leader sees each join twice: when its author sits down, and in the roster it closes."""
_REMEMBERED_JOIN_BYTES = 4 * 1024
"""The same for joins: those that carry a vote for a value are as long as that value."""


@dataclass(frozen=True)
class Seat:
    """One peer's place in a roster."""

    peer: PeerId
    member: str
    region: str
    contributes: bool
    dialable: bool
    tokens: int
    up_bps: int = 0
    down_bps: int = 0
    tokens_per_s: float = 0.0
    mask_key: bytes = b""
    valid_from_s: float = 0.0
    """When its passport begins, in Unix seconds."""
    expires_s: float = math.inf
    """When it ends."""
    passport: SignedPassport | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Roster:
    """Seats sorted by peer id, so that an index means the same peer everywhere.

    Equal to itself only. One instance serves every reader of the same bytes, so what follows from it is computed once.
    """

    round: int
    ballot: wire.Ballot
    seats: tuple[Seat, ...]
    weights: tuple[int, ...]
    """Integer weight of each seat; counts only for seats that contribute."""
    digest: bytes = b""
    """SHA-256 of the bytes its leader signed."""

    @cached_property
    def index(self) -> dict[PeerId, int]:
        return {seat.peer: number for number, seat in enumerate(self.seats)}

    @cached_property
    def peers(self) -> tuple[PeerId, ...]:
        return tuple(seat.peer for seat in self.seats)

    @cached_property
    def regions(self) -> dict[PeerId, str]:
        return {seat.peer: seat.region for seat in self.seats}

    @cached_property
    def voices(self) -> Voices:
        """How much each of these peers counts among them, without any witness."""
        return voices(self.peers, (), {seat.peer: seat.member for seat in self.seats})

    @cached_property
    def _named(self) -> dict[bytes, tuple[int, ...]]:
        """Seats by bitmap. The chunks of a round have few different ones, and each result asks again."""
        return {}

    @cached_property
    def _members(self) -> dict[bytes, int]:
        """Distinct members by bitmap."""
        return {}

    def contributors(self, bitmap: bytes) -> tuple[int, ...]:
        """Seat numbers set in a bitmap. ProtocolError for a wrong length or a bit of a seat that gives nothing."""
        numbers = self._named.get(bitmap)
        if numbers is None:
            numbers = self._read_bitmap(bitmap)
            if len(self._named) < _REMEMBERED_BITMAPS:
                self._named[bitmap] = numbers
        return numbers

    def _read_bitmap(self, bitmap: bytes) -> tuple[int, ...]:
        if len(bitmap) != self.bitmap_bytes:
            raise ProtocolError(f"a contributor bitmap of {len(bitmap)} bytes, expected {self.bitmap_bytes}")
        bits = int.from_bytes(bitmap, "little")
        numbers = tuple(number for number in range(bits.bit_length()) if bits >> number & 1)
        if any(number >= len(self.seats) or not self.seats[number].contributes for number in numbers):
            raise ProtocolError("a contributor bitmap names a peer that contributes nothing")
        return numbers

    def bitmap(self, numbers: Iterable[int]) -> bytes:
        return sum(1 << number for number in numbers).to_bytes(self.bitmap_bytes, "little")

    @property
    def bitmap_bytes(self) -> int:
        return (len(self.seats) + 7) // 8

    def may_cross(self, numbers: Iterable[int], least_members: int) -> bool:
        """Whether a mean over these seats may go to every region.

        Whoever has a mean and what its own region gave can tell what the others gave, so each region in it must stand
        for at least `least_members` distinct members.
        """
        return all(members >= least_members for members in self.members_by_region(numbers).values())

    def members_by_region(self, numbers: Iterable[int]) -> dict[str, int]:
        """Distinct members among these seats, by region."""
        by_region: dict[str, set[str]] = {}
        for number in numbers:
            by_region.setdefault(self.seats[number].region, set()).add(self.seats[number].member)
        return {region: len(members) for region, members in by_region.items()}

    def members_in(self, bitmap: bytes) -> int:
        """Distinct members in an aggregate."""
        count = self._members.get(bitmap)
        if count is None:
            count = len({self.seats[number].member for number in self.contributors(bitmap)})
            if len(self._members) < _REMEMBERED_BITMAPS:
                self._members[bitmap] = count
        return count


def result_digest(contributors: bytes, data: Buffer) -> bytes:
    """Digest of a reduced chunk: its bytes and whose updates are in it. 32 bytes."""
    return blake3.blake3(len(contributors).to_bytes(4, "little") + contributors).update(data).digest()


def told_rules(rules: RulesId) -> str:
    """The rules in a few words, for a reason."""
    amendment = f" ({rules.amendment.hex()[:8]})" if rules.amendment else ""
    return f"epoch {rules.epoch}{amendment}, revocation list {rules.revocations.hex()[:8] or 'empty'}"


def read_join(sealed: wire.Sealed, run: Run) -> tuple[wire.Join, Seat]:
    """A join whose signature and passport hold. Whether it has expired is judged by the clock when its stream is
    admitted and when its roster is closed; on record, by the other passports in the roster.

    A pure function of the sealed bytes and the run, so what held before is remembered.

    Raises:
        ProtocolError: anything about it is wrong.
    """
    if len(sealed.payload) > _REMEMBERED_JOIN_BYTES:
        return _read_join(sealed, run)
    return _remembered_join(sealed.author, sealed, run)


def _read_join(sealed: wire.Sealed, run: Run) -> tuple[wire.Join, Seat]:
    join = wire.unseal(sealed, wire.Join)
    if join.run_id != run.id:
        raise ProtocolError("a join for another run")
    try:
        signed = passports.decode(join.passport)
    except PassportError as error:
        raise ProtocolError(str(error)) from None
    match run.rules.admit(signed, sealed.author, signed.payload.not_before):
        case Refused(reason):
            raise ProtocolError(f"a join with a passport that is refused: {reason}")
        case Admitted(passport):
            if passport.role != "peer":
                raise ProtocolError("a join of an observer, who takes no part")
    if run.genesis_members.get(sealed.author, passport.member) != passport.member:
        raise ProtocolError("a join of a genesis peer with another member's passport than the charter says")
    if not 0 <= join.tokens <= wire.MAX_ROUND:
        raise ProtocolError("a join with an impossible number of tokens")
    if not 0 <= join.tokens_per_s <= wire.MAX_ROUND:
        raise ProtocolError("a join with an impossible pace")
    if join.privacy is not None and (fault := fault_of(join.privacy)) is not None:
        raise ProtocolError(f"a join whose statement of privacy is none: {fault}")
    if not (0 <= join.up_bps <= MAX_BPS and 0 <= join.down_bps <= MAX_BPS):
        raise ProtocolError("a join with an impossible rate")
    if len(join.mask_key) != (KEY_BYTES if run.secure is not None and join.contributes else 0):
        raise ProtocolError("a join without the mask key that the charter's aggregation takes, or with one too many")
    seat = Seat(
        peer=sealed.author,
        member=passport.member,
        region=passport.region,
        contributes=join.contributes,
        dialable=join.dialable,
        tokens=join.tokens,
        up_bps=join.up_bps,
        down_bps=join.down_bps,
        tokens_per_s=join.tokens_per_s,
        mask_key=join.mask_key,
        valid_from_s=passport.not_before,
        expires_s=passport.expires,
        passport=signed,
    )
    return join, seat


def is_still_admitted(sealed: wire.Sealed, run: Run) -> bool:
    """Whether the passport of a join that held once is one that these rules admit; its expiry is not asked."""
    signed = passports.decode(wire.decode(sealed.payload, wire.Join).passport)
    return isinstance(run.rules.admit(signed, sealed.author, signed.payload.not_before), Admitted)


_remembered_join = Remembered(_read_join, authors=wire.MAX_PEERS, each=_REMEMBERED_JOINS)


def read_roster(sealed: wire.Sealed, run: Run, base_digest: bytes) -> Roster:
    """A roster whose every join was sealed by its author for this very ballot, on this base.

    A pure function of its arguments, remembered like `read_join`.

    Raises:
        ProtocolError: anything about it is wrong, or the charter's cap cannot be kept with these members.
    """
    read = _remembered_roster if len(sealed.payload) <= _REMEMBERED_ROSTER_BYTES else _read_roster
    return read(sealed, run, base_digest)


def _read_roster(sealed: wire.Sealed, run: Run, base_digest: bytes) -> Roster:
    roster = wire.unseal(sealed, wire.Roster)
    if roster.ballot.leader != sealed.author or roster.run_id != run.id:
        raise ProtocolError("a roster that is not its leader's, or of another run")
    if roster.rules != run.rules.in_force:
        raise RulesApartError(f"a roster under {told_rules(roster.rules)}; here it is {told_rules(run.rules.in_force)}")
    if not 1 <= len(roster.joins) <= wire.MAX_PEERS:
        raise ProtocolError(f"a roster of {len(roster.joins)} peers")
    seats: dict[PeerId, Seat] = {}
    for sealed_join in roster.joins:
        join, seat = read_join(sealed_join, run)
        if (join.round, join.ballot, join.base_digest) != (roster.round, roster.ballot, base_digest):
            raise ProtocolError("a roster with a join for another round, ballot or base")
        if join.rules != roster.rules:
            raise ProtocolError(f"a roster under {told_rules(roster.rules)} with a join under {told_rules(join.rules)}")
        if seat.peer in seats:
            raise ProtocolError("a roster with a peer in it twice")
        seats[seat.peer] = seat
    ordered = tuple(seats[peer] for peer in sorted(seats))
    if not any(seat.dialable for seat in ordered):
        raise ProtocolError("a roster in which nobody can be dialled")
    if max(seat.valid_from_s for seat in ordered) >= min(seat.expires_s for seat in ordered):
        raise ProtocolError("a roster with a passport that had expired before another one in it began")
    try:
        weights = run.weights([seat.tokens for seat in ordered], [seat.member for seat in ordered])
    except ValueError as error:
        raise ProtocolError(f"this roster cannot keep the charter's cap: {error}") from None
    return Roster(roster.round, roster.ballot, ordered, weights, hashlib.sha256(sealed.payload).digest())


_remembered_roster = lru_cache(_REMEMBERED_ROSTERS)(_read_roster)
