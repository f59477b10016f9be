"""A peer's own tree heads: one signed each round, kept beside the ledger they speak of.

    STATE/heads.jsonl    every head this peer has signed, oldest first

A head is never signed for a ledger that is not a continuation of the last one's: that would be a fork, which every peer
that saw the last head could prove.
"""

from pathlib import Path

from swarm.errors import StateError
from swarm.identity.key import Identity
from swarm.sovereignty import statements
from swarm.sovereignty.ledger import Ledger
from swarm.sovereignty.merkle import EMPTY_ROOT
from swarm.sovereignty.signed import Signed, TreeHead

HEADS_NAME = "heads.jsonl"


class OwnHeads:
    """Signs heads of one ledger."""

    def __init__(self, folder: Path, identity: Identity, run_id: str, ledger: Ledger) -> None:
        """Reads what was signed before.

        Raises:
            StateError: the file cannot be read, or the ledger is not the one whose head was signed last.
        """
        self._path = folder / HEADS_NAME
        self._identity = identity
        self._run_id = run_id
        self._ledger = ledger
        self.newest: Signed | None = None
        self.size = 0
        """Entries under the newest head."""
        root = EMPTY_ROOT
        for signed in statements.read(self._path):
            head = TreeHead.read(signed)
            if signed.author == identity.peer_id and head.run_id == run_id:
                self.newest, self.size = signed, head.size
                root = head.root
        if self.newest is not None and ledger.root(self.size) != root:
            raise StateError(
                f"the ledger in {folder} is not the one whose first {self.size} entries this peer has signed: put the "
                "signed one back, or begin with an empty state folder and a new identity"
            )

    async def sign(self, round_number: int, at: float) -> Signed | None:
        """A head over everything recorded until now, durable like the ledger under it; None for an empty ledger.

        Raises:
            StateError: the disk refuses.
        """
        size = await self._ledger.grow()
        root = self._ledger.root(size)
        if root is None or size == self.size:
            return self.newest
        head = TreeHead(self._run_id, size, root, round_number, at).sign(self._identity)
        statements.append(self._path, [head])
        self.newest, self.size = head, size
        return head
