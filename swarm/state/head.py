"""The Shared Base a peer stands on: the last committed round, its electorate, the base and the outer-optimiser state.

Arrays are never changed in place: a round makes a successor beside them, which becomes the head only when the round is
committed. So a vote can be cast on the successor's digest and taken back by doing nothing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swarm.charter.epochs import Rules
from swarm.clock import thread_cpu_s
from swarm.state.chain import Mark
from swarm.state.electorate import Electorate
from swarm.state.records import NO_RECORD, Decided
from swarm.state.run import Run
from swarm.vector.digest import Buffer, chunk_bytes, root_of_state, state_leaf
from swarm.vector.grid import Vector
from swarm.vector.recycle import Recycler
from swarm.vector.secure_codes import pack_ranges


@dataclass(frozen=True)
class Head:
    """State after `round` committed rounds; round 0 is the charter's state 0."""

    round: int
    record_digest: bytes
    electorate: Electorate
    base_N: np.ndarray
    """Float32 [N]."""
    outer_VN: tuple[np.ndarray, ...]
    """Outer-optimiser vectors, float32 [N] each."""
    state_digest: bytes
    rules: Rules
    """In force after that round's record."""
    leaves: tuple[bytes, ...] = ()
    """Merkle leaves of the state, where they are known: donors hash the state where they are not."""

    @classmethod
    def genesis(cls, run: Run, base_N: np.ndarray) -> "Head":
        """State 0. The caller has checked its digest against the charter (`swarm.state.resume.state_zero`)."""
        outer_VN = tuple(np.zeros_like(base_N) for _ in range(run.rule.vectors))
        digest = bytes.fromhex(run.charter.model.state_digest)
        return cls(0, NO_RECORD, Electorate.genesis(run), base_N, outer_VN, digest, run.genesis.rules)

    @property
    def mark(self) -> Mark:
        """This head as a point of the chain: it judges what may follow."""
        return Mark(self.round, self.record_digest, self.electorate, self.state_digest, self.rules)


@dataclass(frozen=True)
class Successor:
    """What the head becomes if a round commits with given results."""

    base_N: np.ndarray
    outer_VN: tuple[np.ndarray, ...]
    state_digest: bytes
    step_cpu_s: float
    """Processor seconds that the outer step and the digest of its state took."""
    leaves: tuple[bytes, ...] = ()
    """Merkle leaves of the state."""
    ranges: bytes = b""
    """What secure sums of the round after go by (`Value.ranges`)."""

    def committed(self, run: Run, decided: Decided) -> Head:
        return Head(
            decided.value.round,
            decided.digest,
            Electorate.after(run, decided.roster, decided.voters),
            self.base_N,
            self.outer_VN,
            self.state_digest,
            decided.rules or run.genesis.rules,
            self.leaves,
        )


def unchanged(head: Head) -> Successor:
    """What a rejected round leads to."""
    return Successor(head.base_N, head.outer_VN, head.state_digest, 0.0, head.leaves)


async def apply_mean(run: Run, head: Head, mean_N: Vector, vectors: Recycler) -> Successor:
    """The outer step of round head.round + 1 by a mean update, float32 [N], which becomes the new base in place.

    Deterministic: a pure function of the head's bits and the mean's. Yields between chunks.
    """
    outer_VN = tuple(vectors.empty(run.grid.elements) for _ in head.outer_VN)
    after = (mean_N, *outer_VN)
    leaves: list[list[bytes]] = [[] for _ in after]
    cpu_s = 0.0
    for chunk in range(run.grid.chunks):
        began_cpu_s = thread_cpu_s()
        bounds = run.grid.bounds(chunk)
        state_n = tuple(vector_N[bounds] for vector_N in head.outer_VN)
        after_n = tuple(vector_N[bounds] for vector_N in after)
        run.rule.step(head.base_N[bounds], state_n, mean_N[bounds], head.round + 1, after_n)
        for number, vector_N in enumerate(after):
            leaves[number].append(state_leaf(number, chunk, chunk_bytes(vector_N[bounds])))
        cpu_s += thread_cpu_s() - began_cpu_s
        await asyncio.sleep(0)
    in_order = tuple(leaf for of_vector in leaves for leaf in of_vector)
    return Successor(mean_N, outer_VN, root_of_state(in_order), cpu_s, in_order)


async def next_ranges(run: Run, mean_N: Vector) -> bytes:
    """The public ranges that follow from a round's mean, float32 [N]; empty without secure sums. Yields on the way."""
    rule = run.secure
    if rule is None:
        return b""
    found: list[Vector] = []
    for chunk in range(run.grid.chunks):
        mean_n = mean_N[run.grid.bounds(chunk)]
        found.append(run.secure_codes.next_ranges(mean_n, kappa=rule.kappa, floor_rms=rule.floor_rms))
        await asyncio.sleep(0)
    return pack_ranges(np.concatenate(found))


async def apply_results(run: Run, head: Head, results: Sequence[Buffer], vectors: Recycler) -> Successor:
    """The outer step on encoded chunk means, in grid order."""
    mean_N = vectors.empty(run.grid.elements)
    for chunk, data in enumerate(results):
        run.codec.decode_into(data, mean_N[run.grid.bounds(chunk)])
        await asyncio.sleep(0)
    return await apply_mean(run, head, mean_N, vectors)
