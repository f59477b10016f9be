"""From a state folder back to a head: the newest snapshot that is what its record says, then the records after it.

What does not verify is passed over and reported, never deleted or overwritten; the swarm has the rest.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from swarm.errors import ProtocolError, StateError
from swarm.net import wire
from swarm.state.archive import Archive
from swarm.state.chain import kept_mark
from swarm.state.head import Head, apply_results, unchanged
from swarm.state.run import Run
from swarm.state.store import Store
from swarm.vector.digest import root_of_state, state_digest, state_leaves
from swarm.vector.recycle import Recycler


async def resume(run: Run, store: Store, say: Callable[[str], None], *, until: int = wire.MAX_ROUND) -> Head | None:
    """The latest head this store can prove, up to round `until`, or None if it holds none."""
    for round_number in (number for number in store.snapshots() if number <= until):
        head = _head_at(run, store, round_number)
        if head is None:
            say(f"the snapshot of round {round_number} is damaged: it is kept aside, and an older one is used")
            store.set_aside_snapshot(round_number)
            continue
        return await _replay(run, store, head, say, until)
    return None


def read_state_zero(path: Path) -> np.ndarray | None:
    """The base of state 0 from its safetensors file, float32 [N]; None if there is no such file.

    Raises:
        StateError: the file is something else.
    """
    try:
        return load_file(path)["base"]
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError, OSError) as error:
        raise StateError(f"{path} is not a state 0 file: {error}") from None


def state_zero(run: Run, base_N: np.ndarray) -> Head | None:
    """State 0 from its base, or None if it is not the one in the charter."""
    outer_VN = tuple(np.zeros_like(base_N) for _ in range(run.rule.vectors))
    if base_N.shape != (run.grid.elements,) or base_N.dtype != np.float32:
        return None
    leaves = state_leaves(run.grid, base_N, outer_VN)
    if root_of_state(leaves).hex() != run.charter.model.state_digest:
        return None
    return replace(Head.genesis(run, base_N), leaves=leaves)


def _head_at(run: Run, store: Store, round_number: int) -> Head | None:
    vectors = store.load_snapshot(round_number)
    if vectors is None or len(vectors) != 1 + run.rule.vectors:
        return None
    if any(vector.shape != (run.grid.elements,) or vector.dtype != np.float32 for vector in vectors):
        return None
    if round_number == 0:
        return state_zero(run, vectors[0])
    mark = kept_mark(run, store.load_record, round_number)
    if mark is None or mark.state_digest != state_digest(run.grid, vectors[0], vectors[1:]):
        return None
    return Head(round_number, mark.digest, mark.electorate, vectors[0], vectors[1:], mark.state_digest, mark.rules)


async def _replay(run: Run, store: Store, head: Head, say: Callable[[str], None], until: int) -> Head:
    """Rounds that were committed after the snapshot, as far as their results are still here."""
    archive, vectors = Archive(run, store), Recycler()
    while head.round < until and (data := store.load_record(head.round + 1)) is not None:
        try:
            decided = head.mark.verify(run, data)
        except ProtocolError:
            say(f"the record of round {head.round + 1} is damaged: it is kept aside, and the swarm is asked for it")
            store.set_aside_record(head.round + 1)
            return head
        if decided.value.is_rejected:
            head = unchanged(head).committed(run, decided)
            continue
        results = [archive.result(decided.value, decided.digest, chunk) for chunk in range(run.grid.chunks)]
        present = [data for data in results if data is not None]
        if len(present) < run.grid.chunks:
            return head
        successor = await apply_results(run, head, present, vectors)
        if successor.state_digest != decided.value.state_digest:
            return head
        head = successor.committed(run, decided)
    return head
