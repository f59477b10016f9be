"""Result bytes this peer has on disk, found by the digest of the value they belong to."""

from itertools import accumulate

from swarm.net import wire
from swarm.state.records import Decided, Record, Value, kept_rules, value_digest
from swarm.state.roster import read_roster, result_digest
from swarm.state.run import Run
from swarm.state.store import Store


class Archive:
    """Results of the last rounds and of the value this peer voted for, in the layout of `Store.save_results`."""

    def __init__(self, run: Run, store: Store) -> None:
        self._run = run
        self._store = store
        sizes = [run.encoded_bytes(chunk) for chunk in range(run.grid.chunks)]
        self._spans = list(zip(accumulate(sizes, initial=0), sizes, strict=False))

    def result(self, value: Value, digest: bytes, chunk: int) -> bytes | None:
        """The encoded mean of one chunk, or None if it is not kept or no longer what was decided."""
        offset, length = self._spans[chunk]
        data = self._store.load_result(value.round, digest, offset, length)
        if data is None or result_digest(value.contributors[chunk], data) != value.chunk_digests[chunk]:
            return None
        return data

    def committed(self, round_number: int) -> Decided | None:
        """What this peer saw decided in a round; it was verified before it was saved."""
        data = self._store.load_record(round_number)
        if data is None:
            return None
        encoded = wire.decode(data, Record).value
        value = wire.decode(encoded, Value)
        run = self._run.under(kept_rules(self._run, self._store.load_record, value))
        return Decided(data, value_digest(encoded), value, read_roster(value.roster, run, value.base_digest))
