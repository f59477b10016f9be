"""Makes the Shared Base again from what a state folder holds, bit for bit, and counts how far that carries.

A round is replayed when the state before it is at hand, all of its committed means are, and the outer step leads to the
state digest that its quorum signed. The state before is the one just replayed, state 0, or a checkpoint whose digest is
the record's; where means are missing the next checkpoint is where it goes on. Read only.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from peers.lineage.history import Step
from swarm.errors import LineageError
from swarm.state.archive import Archive
from swarm.state.chain import Mark
from swarm.state.head import Head, apply_results
from swarm.state.resume import read_state_zero, state_zero
from swarm.state.run import Run
from swarm.state.store import DiskStore
from swarm.vector.digest import state_digest
from swarm.vector.recycle import Recycler


@dataclass
class Replayed:
    """How far the folder carries."""

    rounds: int = 0
    """Whose step was made again and led to the signed state."""
    base_N: np.ndarray | None = None
    """The base of the last round, float32 [N], if any way led to its state."""


def replay(run: Run, state: Path, steps: Iterable[Step], zero: Path | None = None) -> Replayed:
    """Replays verified rounds, in order; `zero` is the charter's state 0 file, for a folder that no longer has it.

    Raises:
        LineageError: a checkpoint is not the state that its record names, or means lead to another state.
        StateError: `zero` is no file of a state 0.
    """
    first = None if zero is None else _state_zero(run, zero)
    return asyncio.run(_replay(run, state, steps, first))


def _state_zero(run: Run, path: Path) -> Head:
    base_N = read_state_zero(path)
    head = None if base_N is None else state_zero(run, base_N)
    if head is None:
        raise LineageError(f"{path} is not the state 0 that the charter names")
    return head


async def _replay(run: Run, state: Path, steps: Iterable[Step], head: Head | None) -> Replayed:
    store = DiskStore(state, read_only=True)
    archive, found, rounds = Archive(run, store), Replayed(), frozenset(store.snapshots())
    if head is None and 0 in rounds:
        head = _checkpoint(run, store, Mark.genesis(run))
    for step in steps:
        number = step.after.round
        after = None if head is None else await _outer_step(run, archive, head, step)
        if after is not None:
            found.rounds += 1
        if number in rounds:
            checkpoint = _checkpoint(run, store, step.after)
            after = after or checkpoint
        head = after
    found.base_N = None if head is None else head.base_N
    return found


async def _outer_step(run: Run, archive: Archive, head: Head, step: Step) -> Head | None:
    decided, after = step.decided, step.after
    base_N, outer_VN = head.base_N, head.outer_VN
    if not decided.value.is_rejected:
        kept = [archive.result(decided.value, decided.digest, chunk) for chunk in range(run.grid.chunks)]
        present = [data for data in kept if data is not None]
        if len(present) < run.grid.chunks:
            return None
        successor = await apply_results(run, head, present, Recycler())
        if successor.state_digest != after.state_digest:
            raise LineageError(f"the means of round {after.round} do not lead to the state that its quorum signed")
        base_N, outer_VN = successor.base_N, successor.outer_VN
    return Head(after.round, after.digest, after.electorate, base_N, outer_VN, after.state_digest, after.rules)


def _checkpoint(run: Run, store: DiskStore, mark: Mark) -> Head | None:
    vectors = store.load_snapshot(mark.round)
    if vectors is None and mark.round not in store.snapshots():
        return None  # its peer is at work and has just put newer ones in its place
    is_whole = vectors is not None and len(vectors) == 1 + run.rule.vectors
    if vectors is None or not is_whole or any(each.shape != (run.grid.elements,) for each in vectors):
        raise LineageError(f"the checkpoint of round {mark.round} in {store.folder} cannot be read")
    base_N, *outer_VN = (np.ascontiguousarray(each, np.float32) for each in vectors)
    if state_digest(run.grid, base_N, outer_VN) != mark.state_digest:
        raise LineageError(f"the checkpoint of round {mark.round} in {store.folder} is not the state its quorum signed")
    return Head(mark.round, mark.digest, mark.electorate, base_N, tuple(outer_VN), mark.state_digest, mark.rules)
