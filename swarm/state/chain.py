"""The chain of records, followed without any state: what a witness needs to know who may lead and who votes.

Each record is verified against the electorate that the one before it left, from the charter on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from swarm.charter.epochs import Rules
from swarm.charter.restart import Restart
from swarm.errors import ProtocolError, StateError
from swarm.net import wire
from swarm.state.electorate import Electorate, named_members
from swarm.state.records import (
    NO_RECORD,
    Decided,
    Record,
    Value,
    kept_rules,
    read_value,
    round_of,
    value_digest,
    verify_record,
)
from swarm.state.restarts import read_restart, read_restarts, restarted
from swarm.state.roster import Roster, read_roster
from swarm.state.run import Run
from swarm.state.store import Store


@dataclass(frozen=True)
class Mark:
    """A verified point of the chain: everything that decides what may follow it."""

    round: int
    digest: bytes
    """Digest of the record of `round`; empty for round 0."""
    electorate: Electorate
    """Who votes on the next round."""
    state_digest: bytes
    rules: Rules
    """In force after that record."""

    @classmethod
    def genesis(cls, run: Run) -> "Mark":
        return cls(
            0, NO_RECORD, Electorate.genesis(run), bytes.fromhex(run.charter.model.state_digest), run.genesis.rules
        )

    @classmethod
    def after(cls, run: Run, decided: Decided) -> "Mark":
        rules = decided.rules or run.genesis.rules
        electorate = Electorate.after(run.under(rules), decided.roster, decided.voters)
        return cls(decided.value.round, decided.digest, electorate, decided.value.state_digest, rules)

    def restarted(self, run: Run, documents: Sequence[bytes]) -> "Mark":
        """This point under founders' restarts that name it. Raises ProtocolError with the rule that is broken."""
        electorate = restarted(run, self.electorate, documents, round_number=self.round, record=self.digest)
        return replace(self, electorate=electorate)

    def read(self, run: Run, value: bytes) -> tuple[Value, Roster]:
        """A value that may follow. Raises ProtocolError for anything that is wrong with it."""
        return read_value(
            value,
            run.under(self.rules),
            self.electorate,
            round_number=self.round + 1,
            previous=self.digest,
            base_digest=self.state_digest,
        )

    def verify(self, run: Run, record: bytes) -> Decided:
        """The record that follows. Raises ProtocolError if this is not one that a quorum signed."""
        return verify_record(
            record,
            run.under(self.rules),
            self.electorate,
            round_number=self.round + 1,
            previous=self.digest,
            base_digest=self.state_digest,
        )


def is_named(run: Run, documents: Sequence[bytes], mark: Mark) -> bool:
    """Whether good restarts name this point of the chain and are newer than what is in force there."""
    newest = read_restarts(documents, run)
    return (newest.round, newest.record) == (mark.round, mark.digest.hex()) and newest.term > mark.electorate.term


def news_of(run: Run, documents: Sequence[bytes], term: int, known: Sequence[bytes]) -> Restart | None:
    """The restart to act on while `term` is in force and `known` were taken last; None for what is known or over.

    Raises:
        ProtocolError: they are not good, or another restart of the same term was taken.
    """
    newest = read_restarts(documents, run)
    taken = read_restarts(known, run) if known else None
    if taken is not None and taken.term == newest.term and taken != newest:
        raise ProtocolError(
            f"a second restart of term {newest.term}: the first names round {taken.round} and "
            f"{len(taken.peers)} peers, this one round {newest.round} and {len(newest.peers)}"
        )
    return newest if newest.term > term else None


async def keep(store: Store, decided: Decided) -> None:
    """Saves a verified record, and the restarts it carries."""
    restarts = () if decided.voters is None else decided.voters.restarts
    if restarts:
        await store.save_restarts(encode_restarts(restarts))
    await store.save_record(decided.value.round, decided.record)


def encode_restarts(documents: Sequence[bytes]) -> bytes:
    """Restarts as a file."""
    return msgspec.msgpack.encode(tuple(documents))


def load_restarts(store: Store) -> tuple[bytes, ...]:
    """The newest restart this peer has taken, with those it followed; empty if none. Raises StateError."""
    data = store.load_restarts()
    try:
        return () if data is None else msgspec.msgpack.decode(data, type=tuple[bytes, ...])
    except msgspec.DecodeError as error:
        raise StateError(f"the founders' restart in the state folder is corrupted ({error})") from None


def kept_chain(run: Run, load_record: Callable[[int], bytes | None]) -> Iterator[tuple[Mark, Decided]]:
    """Records from round 1 on, as far as they are there and verify, each with the point it leads to."""
    mark = Mark.genesis(run)
    while (data := load_record(mark.round + 1)) is not None:
        try:
            decided = mark.verify(run, data)
        except ProtocolError:
            return  # a damaged record: whoever leads next has it
        mark = Mark.after(run, decided)
        yield mark, decided


def last_mark(run: Run, load_record: Callable[[int], bytes | None]) -> Mark:
    """Where the records on hand lead."""
    mark = Mark.genesis(run)
    for after, _ in kept_chain(run, load_record):
        mark = after
    return mark


def kept_mark(run: Run, load_record: Callable[[int], bytes | None], round_number: int) -> Mark | None:
    """The point after a round, from records that were verified before they were saved; None if they are not here."""
    if round_number == 0:
        return Mark.genesis(run)
    data = load_record(round_number)
    if data is None:
        return None
    try:
        record = wire.decode(data, Record)
        value = wire.decode(record.value, Value)
        run = run.under(kept_rules(run, load_record, value))
        roster = read_roster(value.roster, run, value.base_digest)
        voters = _kept_voters(run, load_record, round_number, record)
    except ProtocolError:
        return None
    if (value.run_id, value.round) != (run.id, round_number) or voters is None:
        return None
    electorate = Electorate.after(run, roster, voters)
    return Mark(round_number, value_digest(record.value), electorate, value.state_digest, run.rules)


def kept_state(run: Run, load_record: Callable[[int], bytes | None], round_number: int) -> bytes | None:
    """The digest of the state after a round, by a record that was verified before it was saved; None without one."""
    if round_number == 0:
        return bytes.fromhex(run.charter.model.state_digest)
    data = load_record(round_number)
    try:
        return None if data is None else wire.decode(wire.decode(data, Record).value, Value).state_digest
    except ProtocolError:
        return None


def _kept_voters(
    run: Run, load_record: Callable[[int], bytes | None], round_number: int, record: Record
) -> Electorate | None:
    """As much of who voted on a kept record as decides who votes next: the term, and whom its founders named."""
    term = max((wire.decode(sealed.payload, wire.Vote).ballot.term for sealed in record.votes), default=0)
    genesis = Electorate.genesis(run)
    if term == 0:
        return genesis
    while not record.restarts:
        round_number -= 1
        data = load_record(round_number)
        if data is None:
            return None
        record = wire.decode(data, Record)
    restart = read_restart(record.restarts[-1], run)
    return replace(
        genesis,
        peers=frozenset(restart.peers),
        witnesses=frozenset(restart.witnesses),
        term=restart.term,
        members=named_members(restart.peers, restart.members),
    )


class Chain:
    """One peer's verified chain; it grows, and goes back only where founders restart it."""

    def __init__(self, run: Run, store: Store) -> None:
        """Reads the records on disk from round 1 on, as far as they verify. Raises StateError if the disk fails."""
        self._run = run
        self._store = store
        self._lock = asyncio.Lock()
        self.mark = last_mark(run, store.load_record)
        documents = load_restarts(store)
        if documents and is_named(run, documents, self.mark):
            self.mark = self.mark.restarted(run, documents)

    async def advance(self, record: bytes) -> None:
        """Takes the next record, durably. One of another round is passed over.

        Raises:
            ProtocolError: it is for the next round and not what its quorum signed.
        """
        async with self._lock:
            if round_of(record) != self.mark.round + 1:
                return
            decided = self.mark.verify(self._run, record)
            await keep(self._store, decided)
            self.mark = Mark.after(self._run, decided)

    async def restart(self, documents: tuple[bytes, ...], going_back: Callable[[Mark], Awaitable[None]]) -> None:
        """Takes founders' restarts, durably; records after the one they name are set aside, `going_back` before them.

        Raises:
            ProtocolError: they are not good, name an unknown record, or their term is not above the one in force.
        """
        async with self._lock:
            newest = news_of(self._run, documents, self.mark.electorate.term, load_restarts(self._store))
            if newest is None or newest.round > self.mark.round:
                return  # nothing new, or the records up to it come first and then it is told again
            named = self.mark if newest.round >= self.mark.round else self._kept(newest.round)
            mark = named.restarted(self._run, documents)
            await self._store.save_restarts(encode_restarts(mark.electorate.restarts))
            if mark.round < self.mark.round:
                await going_back(mark)
            for round_number in range(self.mark.round, mark.round, -1):
                self._store.set_aside_record(round_number)
            self.mark = mark

    @property
    def restarts(self) -> tuple[bytes, ...]:
        """The newest restart taken, with those it followed; empty if none."""
        return load_restarts(self._store)

    def _kept(self, round_number: int) -> Mark:
        mark = kept_mark(self._run, self._store.load_record, round_number)
        if mark is None:
            raise ProtocolError(f"the record of round {round_number}, which a restart names, is not here")
        return mark

    def record(self, round_number: int) -> bytes | None:
        """A record of this chain, or None for one that is not in it."""
        return self._store.load_record(round_number) if 1 <= round_number <= self.mark.round else None
