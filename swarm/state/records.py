"""Commit records: what a round decided, with the votes that prove it. They chain by hash and verify from the charter.

A record's identity is the digest of its value; which votes of the quorum it carries may differ from peer to peer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import blake3
import msgspec

from swarm.charter.epochs import Rules, followed
from swarm.errors import CharterError, ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.state.electorate import Electorate
from swarm.state.quality import check_quality
from swarm.state.restarts import in_force
from swarm.state.roster import Roster, read_roster
from swarm.state.run import Run
from swarm.vector.secure_codes import unpack_ranges

DIGEST_BYTES = 32
_REMEMBERED = 4
"""Values and records: one that was told, or put together here, is judged again when it is voted for and acted on."""
_REMEMBERED_BYTES = 8 * 1024 * 1024
"""Longer ones are verified anew each time."""
NO_RECORD = b""
"""What round 1 has as its previous record."""


class Value(wire.Frame, frozen=True):
    """What one round decides. Everyone who applies it gets the same base."""

    run_id: str
    epoch: int
    """Number of the charter amendment in force; 0 until there is one. The roster names its digest as well."""
    round: int
    previous: bytes
    """Digest of the record before."""
    base_digest: bytes
    """State digest before this round."""
    roster: wire.Sealed
    weights: tuple[int, ...]
    chunk_digests: tuple[bytes, ...]
    contributors: tuple[bytes, ...]
    """Per chunk, a bitmap over the roster."""
    state_digest: bytes
    """State digest after this round."""
    documents: tuple[bytes, ...] = ()
    """Amendments and revocations that came into force with this round's roster: so records verify from the charter."""
    candidate: bytes = b""
    """State digest of what its quality votes are about; empty where the charter asks for none."""
    quality: tuple[wire.Sealed, ...] = ()
    """Members' votes on that candidate (swarm.state.quality), by peer id."""
    is_rejected: bool = False
    """Whether those votes leave the base as it was. Chunks and contributors are then what was rejected."""
    amended_in: int = 0
    """The last round before this one whose record has documents; 0 if none has."""
    ranges: bytes = b""
    """What secure sums of the next round go by: the ranges that follow from this round's mean; empty without them."""


class Record(wire.Frame, frozen=True):
    """A value and a quorum of votes for it, all in one ballot."""

    value: bytes
    votes: tuple[wire.Sealed, ...]
    restarts: tuple[bytes, ...] = ()
    """The founders' restarts, if any came since the record before: they say whose votes these are."""


_ROSTER_LEFT_OUT = wire.Sealed(PeerId(""), b"", b"")
VALUE_LEFT_OUT = b""
"""A leader's certificate to those that hold the value already. On disk and to anybody else a record is always whole."""


def without_roster(value: Value) -> bytes:
    """The value for those that have its roster, which is nearly all of it."""
    return wire.encode(msgspec.structs.replace(value, roster=_ROSTER_LEFT_OUT, weights=()))


def with_roster(data: bytes, roster: wire.Sealed, weights: tuple[int, ...]) -> bytes:
    """The whole value, if the roster was left out; `data` itself otherwise. The caller checks its digest.

    Raises:
        ProtocolError: this is no value.
    """
    value = wire.decode(data, Value)
    if value.roster != _ROSTER_LEFT_OUT:
        return data
    return wire.encode(msgspec.structs.replace(value, roster=roster, weights=weights))


@dataclass(frozen=True)
class Decided:
    """A verified record."""

    record: bytes
    digest: bytes
    value: Value
    roster: Roster
    voters: Electorate | None = None
    """Whose votes decided it; None if a record was taken at its word."""
    rules: Rules | None = None
    """In force from it on; None if a record was taken at its word."""


def rules_after(rules: Rules, value: Value) -> Rules:
    """The rules that a value was made under, given those in force after the record before it.

    Raises:
        ProtocolError: a document in it is not good, or it says something else than follows.
    """
    try:
        after = followed(rules, value.documents, value.round)
    except CharterError as error:
        raise ProtocolError(f"a value of round {value.round}: {error}") from None
    if (value.epoch, value.amended_in) != (after.epoch, rules.since):
        raise ProtocolError(
            f"a value of round {value.round} of epoch {value.epoch}, amended in round {value.amended_in}; it follows "
            f"rules of epoch {after.epoch}, amended in round {rules.since}"
        )
    return after


def kept_rules(run: Run, load_record: Callable[[int], bytes | None], value: Value) -> Rules:
    """The rules of a value whose chain up to it was verified before it was saved.

    Raises:
        ProtocolError: a record with documents that they follow from is missing or damaged.
    """
    brought = [value]
    while brought[-1].amended_in:
        data = load_record(brought[-1].amended_in)
        if data is None or brought[-1].amended_in >= brought[-1].round:
            raise ProtocolError(f"the record of round {brought[-1].amended_in}, which brought rules, is not here")
        brought.append(wire.decode(wire.decode(data, Record).value, Value))
    rules = run.genesis.rules
    for earlier in reversed(brought):
        rules = rules_after(rules, earlier)
    return rules


def carried_documents(load_record: Callable[[int], bytes | None], since: int) -> list[bytes]:
    """The documents of a kept chain whose last ones a record of round `since` brought. Raises ProtocolError."""
    found: list[bytes] = []
    while since and (data := load_record(since)) is not None:
        value = wire.decode(wire.decode(data, Record).value, Value)
        found += value.documents
        since = value.amended_in if value.amended_in < since else 0
    return found


def value_digest(value: bytes) -> bytes:
    """Digest of an encoded value: the identity of its record. 32 bytes."""
    return blake3.blake3(value).digest()


def read_value(
    data: bytes, run: Run, electorate: Electorate, *, round_number: int, previous: bytes, base_digest: bytes
) -> tuple[Value, Roster]:
    """A value that may follow the given head. Raises ProtocolError for anything that is wrong with it.

    Its roster must be one that a leader of this electorate may have closed: in a ballot the electorate computes, with a
    quorum of its voters there (witnesses promise without a seat). A pure function of its arguments, so what was right
    before is remembered.
    """
    read = _remembered_value if len(data) <= _REMEMBERED_BYTES else _read_value
    return read(data, run, electorate, round_number, previous, base_digest)


def _read_value(
    data: bytes, run: Run, electorate: Electorate, round_number: int, previous: bytes, base_digest: bytes
) -> tuple[Value, Roster]:
    value = wire.decode(data, Value)
    if (value.run_id, value.round) != (run.id, round_number):
        raise ProtocolError(f"a value of another run or round (wanted round {round_number}, got {value.round})")
    if value.previous != previous or value.base_digest != base_digest:
        raise ProtocolError(f"a value of round {round_number} that follows another history")
    run = run.under(rules_after(run.rules, value))
    roster = read_roster(value.roster, run, base_digest)
    if roster.round != round_number or value.weights != roster.weights:
        raise ProtocolError("a value whose weights are not its roster's by the charter's policy")
    closed_by = electorate.of_term(roster.ballot.term)
    if closed_by is None or not closed_by.has_ballot(run.id, round_number, roster.ballot):
        raise ProtocolError(f"a value whose roster is of a ballot that no attempt of round {round_number} has")
    if not closed_by.may_close(roster.peers):
        raise ProtocolError(f"a value whose roster has no quorum of round {round_number}'s electorate in it")
    if not len(value.chunk_digests) == len(value.contributors) == run.grid.chunks:
        raise ProtocolError("a value with the wrong number of chunks")
    _check_ranges(run, value)
    if {len(digest) for digest in (*value.chunk_digests, value.state_digest)} != {DIGEST_BYTES}:
        raise ProtocolError("a value with a digest of the wrong length")
    check_contributors(run, roster, value.contributors)
    check_quality(run, roster, value)
    return value, roster


def _check_ranges(run: Run, value: Value) -> None:
    if run.secure is not None:
        unpack_ranges(value.ranges, run.secure_codes.blocks(run.grid.elements))
        if len(set(value.contributors)) != 1:
            raise ProtocolError("a value of secure sums whose chunks hold different peers")
    elif value.ranges:
        raise ProtocolError("a value with ranges where no sums are secure")


def check_contributors(run: Run, roster: Roster, contributors: Sequence[bytes]) -> None:
    """Refuses bitmaps that a committed value must not have, one per chunk.

    A committed state goes to every region, and the difference of two states is the mean between them. So where there
    is more than one region, each region in a mean must stand for as many members as may cross a border together.

    Raises:
        ProtocolError: a bitmap does not fit the roster, or a mean has too few members.
    """
    least = run.least_members
    for bitmap in set(contributors):
        if not roster.may_cross(roster.contributors(bitmap), least):
            raise ProtocolError(
                f"a chunk is a mean in which some region has fewer than the {least} members that may cross a border"
            )


def round_of(record: bytes) -> int:
    """The round a record says it is of, nothing verified. ProtocolError if it says none."""
    return wire.decode(wire.decode(record, _RecordHead).value, _ValueHead).round


def count_votes(
    votes: Sequence[wire.Sealed], run: Run, round_number: int, digest: bytes
) -> dict[wire.Ballot, frozenset[PeerId]]:
    """Who voted for the value with this digest, by ballot. ProtocolError for a vote that is not what it says."""
    by_ballot: dict[wire.Ballot, frozenset[PeerId]] = {}
    for sealed in votes:
        vote = wire.unseal(sealed, wire.Vote)
        if (vote.run_id, vote.round, vote.value_digest) != (run.id, round_number, digest):
            raise ProtocolError("a vote for something else")
        by_ballot[vote.ballot] = by_ballot.get(vote.ballot, frozenset()) | {sealed.author}
    return by_ballot


def verify_record(
    data: bytes, run: Run, electorate: Electorate, *, round_number: int, previous: bytes, base_digest: bytes
) -> Decided:
    """A record that a quorum of `electorate` signed and that follows the given head.

    A pure function of its arguments, so what verified before is remembered.

    Raises:
        ProtocolError: it is not.
    """
    verify = _remembered if len(data) <= _REMEMBERED_BYTES else _verify
    return verify(data, run, electorate, round_number, previous, base_digest)


def _verify(
    data: bytes, run: Run, electorate: Electorate, round_number: int, previous: bytes, base_digest: bytes
) -> Decided:
    record = wire.decode(data, Record)
    digest = value_digest(record.value)
    electorate = in_force(run, electorate, record.restarts, round_number=round_number - 1, record=previous)
    value, roster = read_value(
        record.value, run, electorate, round_number=round_number, previous=previous, base_digest=base_digest
    )
    if len(record.votes) > len(electorate.voters):
        raise ProtocolError("a record with more votes than there are electors")
    rules = rules_after(run.rules, value)
    silent = electorate.withdrawn(rules).difference(roster.peers)  # who has a seat has another passport by now
    by_ballot = count_votes(record.votes, run, round_number, digest)
    in_term = [voters - silent for ballot, voters in by_ballot.items() if ballot.term == electorate.term]
    if not any(electorate.decides(voters, roster.peers) for voters in in_term):
        most = float(max((electorate.voices.count(voters) for voters in in_term), default=0))
        raise ProtocolError(
            f"a record of round {round_number} with votes of {most:.3g} of {electorate.voices.all} voices: no quorum"
            + (", those of peers whose passports are withdrawn left out" if silent else "")
        )
    return Decided(data, digest, value, roster, electorate, rules)


_remembered = lru_cache(_REMEMBERED)(_verify)
_remembered_value = lru_cache(_REMEMBERED)(_read_value)


class _RecordHead(msgspec.Struct):
    value: bytes


class _ValueHead(msgspec.Struct):
    round: int
