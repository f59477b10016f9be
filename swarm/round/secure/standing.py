"""What a peer has for secure sums between two attempts: fresh secrets, the public ranges, and what it has spent.

A self-mask that has gone out opens the sum it belongs to, so the update behind it is spent. This is on disk before it
goes: a peer that is restarted gives nothing more to that round, whose data it would train on once more.
"""

import os

import numpy as np

from swarm.net import wire
from swarm.round.secure.stage import Random, Secrets
from swarm.state.archive import Archive
from swarm.state.run import Run
from swarm.state.store import Store
from swarm.vector.grid import Vector
from swarm.vector.secure_codes import pack_ranges, unpack_ranges


class Standing:
    """One peer's."""

    def __init__(self, store: Store, archive: Archive, random: Random = os.urandom) -> None:
        """Raises StateError if the disk does not say what is spent."""
        self._store = store
        self._archive = archive
        self._random = random
        self._secrets: tuple[wire.Ballot, Secrets] | None = None
        """Of the attempt that was joined last, until it has a roster."""
        self.spent_before = store.load_spent()
        """The last round in which an earlier process of this peer revealed a self-mask; 0 if there was none."""

    def may_give(self, run: Run, round_number: int) -> bool:
        return round_number > self.spent_before and self.ranges(run, round_number) is not None

    def mask_key(self, ballot: wire.Ballot) -> bytes:
        """Of fresh secrets for an attempt that this peer joins and gives to."""
        self._secrets = ballot, Secrets.fresh(self._random)
        return self._secrets[1].mask_key

    def take(self, ballot: wire.Ballot) -> Secrets | None:
        """The secrets that an attempt was joined with, once: they serve one roster."""
        secrets, self._secrets = self._secrets, None
        return None if secrets is None or secrets[0] != ballot else secrets[1]

    async def spend(self, round_number: int) -> None:
        """Notes durably that a self-mask is about to go out. Raises StateError."""
        await self._store.save_spent(round_number)

    def ranges(self, run: Run, round_number: int) -> Vector | None:
        """The public ranges that a round's secure sums go by, float32 [K]; None if this peer does not know them."""
        rule = run.secure
        assert rule is not None
        blocks = run.secure_codes.blocks(run.grid.elements)
        if round_number == 1:
            return unpack_ranges(pack_ranges(np.full(blocks, rule.kappa * rule.initial_rms, np.float32)), blocks)
        last = self._archive.committed(round_number - 1)
        return None if last is None else unpack_ranges(last.value.ranges, blocks)
