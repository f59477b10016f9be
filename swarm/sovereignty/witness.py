"""Other peers' tree heads, as evidence against whoever rewrites its own ledger.

    STATE/witness/<peer id>.jsonl            heads each proven to continue the one before, the newest last
    STATE/witness/<peer id>.unproven.jsonl   heads whose author did not stay to prove them
    STATE/witness/<peer id>.fork.jsonl       pairs of heads that no ledger has both of: the known one, the one shown

All are signed by that peer and none is ever needed by this one: they are for auditors (`tapestry audit verify
--witness`). Bounded: the oldest proven and unproven heads go first; a fork's first pairs stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swarm.errors import StateError
from swarm.identity.peer_id import PeerId
from swarm.sovereignty import statements
from swarm.sovereignty.merkle import is_extension
from swarm.sovereignty.signed import Signed, TreeHead

WITNESS_NAME = "witness"
KEPT_HEADS = 64
MAX_FORK_LINES = 32
MAX_WITNESSED = 4096


@dataclass(frozen=True)
class Continues:
    """The head shown is the known one, or the two are of one growing ledger."""


@dataclass(frozen=True)
class Forks:
    """No ledger has both heads."""

    reason: str


def judge(known: TreeHead | None, shown: TreeHead, proof: Sequence[bytes]) -> Continues | Forks:
    """Whether a head follows from the one that is known, by a consistency proof between the two sizes."""
    if known is None:
        return Continues()
    old, new = sorted((known, shown), key=lambda head: head.size)
    if is_extension(old.size, old.root, new.size, new.root, proof):
        return Continues()
    if old.size == new.size:
        return Forks(f"two heads over {old.size} entries with different roots")
    return Forks(f"no proof that its first {old.size} of {new.size} entries are the ones it had signed")


class Witnesses:
    """What this peer holds of others' ledgers."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder. Raises StateError."""
        self._folder = folder / WITNESS_NAME
        self._known: dict[PeerId, tuple[Signed, TreeHead]] = {}
        self._lines: dict[Path, int] = {}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            files = [path for path in self._folder.glob("*.jsonl") if path.stem.count(".") == 0]
        except OSError as error:
            raise StateError(f"cannot use {self._folder}: {error.strerror}") from None
        for path in files:
            for signed in statements.read(path):
                if signed.author == path.stem:
                    self._known[signed.author] = signed, TreeHead.read(signed)

    def known(self, peer: PeerId) -> TreeHead | None:
        """The newest proven head of a peer."""
        found = self._known.get(peer)
        return None if found is None else found[1]

    def has_room(self, peer: PeerId) -> bool:
        return peer in self._known or len(self._known) < MAX_WITNESSED

    def keep(self, signed: Signed, head: TreeHead) -> None:
        """A head that continues the known one. Raises StateError."""
        known = self.known(signed.author)
        if known is None or head.size > known.size:
            self._append(self._folder / f"{signed.author}.jsonl", signed)
            self._known[signed.author] = signed, head

    def keep_unproven(self, signed: Signed) -> None:
        """A head whose author left before it had proven it. Raises StateError."""
        self._append(self._folder / f"{signed.author}.unproven.jsonl", signed)

    def keep_fork(self, shown: Signed) -> bool:
        """Evidence: the known head beside the one shown; whether it is this peer's first. Raises StateError."""
        path = self._folder / f"{shown.author}.fork.jsonl"
        lines = statements.count(path)
        if lines < MAX_FORK_LINES:
            statements.append(path, [self._known[shown.author][0], shown])
        return not lines

    def _append(self, path: Path, signed: Signed) -> None:
        if path not in self._lines:
            self._lines[path] = statements.count(path)
        statements.append(path, [signed])
        self._lines[path] += 1
        if self._lines[path] > 2 * KEPT_HEADS:
            statements.replace(path, list(statements.read(path))[-KEPT_HEADS:])
            self._lines[path] = KEPT_HEADS
