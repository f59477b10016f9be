"""The chain of records, followed without any state: what a witness needs to know who may lead and who votes.

Each record is verified against the electorate that the one before it left, from the charter on.
"""

import asyncio
from dataclasses import dataclass

from swarm.errors import ProtocolError
from swarm.state.electorate import Electorate
from swarm.state.records import NO_RECORD, Decided, Value, read_value, round_of, verify_record
from swarm.state.roster import Roster
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

    @classmethod
    def genesis(cls, run: Run) -> "Mark":
        return cls(0, NO_RECORD, Electorate.genesis(run), bytes.fromhex(run.charter.model.state_digest))

    @classmethod
    def after(cls, run: Run, decided: Decided) -> "Mark":
        electorate = Electorate.after(run, decided.roster)
        return cls(decided.value.round, decided.digest, electorate, decided.value.state_digest)

    def read(self, run: Run, value: bytes) -> tuple[Value, Roster]:
        """A value that may follow. Raises ProtocolError for anything that is wrong with it."""
        return read_value(
            value,
            run,
            self.electorate,
            round_number=self.round + 1,
            previous=self.digest,
            base_digest=self.state_digest,
        )

    def verify(self, run: Run, record: bytes) -> Decided:
        """The record that follows. Raises ProtocolError if this is not one that a quorum signed."""
        return verify_record(
            record,
            run,
            self.electorate,
            round_number=self.round + 1,
            previous=self.digest,
            base_digest=self.state_digest,
        )


class Chain:
    """One peer's verified chain; it only grows."""

    def __init__(self, run: Run, store: Store) -> None:
        """Reads the records on disk from round 1 on, as far as they verify. Raises StateError if the disk fails."""
        self._run = run
        self._store = store
        self._lock = asyncio.Lock()
        self.mark = Mark.genesis(run)
        while (data := store.load_record(self.mark.round + 1)) is not None:
            try:
                self.mark = Mark.after(run, self.mark.verify(run, data))
            except ProtocolError:
                break  # a damaged record: whoever leads next has it

    async def advance(self, record: bytes) -> None:
        """Takes the next record, durably. One of another round is passed over.

        Raises:
            ProtocolError: it is for the next round and not what its quorum signed.
        """
        async with self._lock:
            if round_of(record) != self.mark.round + 1:
                return
            decided = self.mark.verify(self._run, record)
            await self._store.save_record(decided.value.round, record)
            self.mark = Mark.after(self._run, decided)

    def record(self, round_number: int) -> bytes | None:
        """A record of this chain, or None for one that is not in it."""
        return self._store.load_record(round_number) if 1 <= round_number <= self.mark.round else None
