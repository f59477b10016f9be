"""Small ledgers with heads and receipts, made as peers make them, for tests that then damage them."""

import asyncio
from pathlib import Path

from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.sovereignty.heads import OwnHeads
from swarm.sovereignty.inbox import Inbox
from swarm.sovereignty.ledger import Ledger
from swarm.sovereignty.permit import Kind
from swarm.sovereignty.receipts import Receipts
from swarm.sovereignty.signed import Signed, TreeHead
from swarm.sovereignty.witness import Witnesses

RUN_ID = "c" * 64
ADA, BO, CY = (Identity.from_seed(bytes([150 + n]) + bytes(31)) for n in range(3))
KINDS = (Kind.CONTROL, Kind.UPDATE, Kind.RESULT)


class Machine:
    """One peer's state folder."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.identity = identity
        self.path = folder / "ledger.jsonl"
        self.witnesses = Witnesses(folder)
        self.receipts = Receipts(folder, identity, RUN_ID)
        self._sent = 0

    def send(self, peer: PeerId | str, frames: int) -> list[bytes]:
        """Records frames that differ from each other, and returns their payloads."""
        payloads: list[bytes] = []
        with Ledger(self.path, lambda: 1_750_000_000.5 + self._sent) as ledger:
            for _ in range(frames):
                payloads.append(b"%d/" % self._sent + bytes(self._sent % 50))
                ledger.record(peer, KINDS[self._sent % 3], payloads[-1], f"permit/{self._sent}")
                self._sent += 1
        return payloads

    def sign(self, round_number: int = 1) -> Signed:
        """Signs a head over everything there is."""
        with Ledger(self.path, lambda: 0.0) as ledger:
            heads = OwnHeads(self.folder, self.identity, RUN_ID, ledger)
            head = asyncio.run(heads.sign(round_number, 1_750_000_000.0))
        assert head is not None
        return head

    def witness(self, head: Signed) -> None:
        self.witnesses.keep(head, TreeHead.read(head))

    def countersign(self, sender: PeerId, payloads: list[bytes]) -> tuple[Signed, ...]:
        """A receipt for frames that arrived, kept here and to be handed over."""
        inbox = Inbox()
        for payload in payloads:
            inbox.note(sender, payload)
        made = self.receipts.countersign(inbox, sender, 1_750_000_000.0)
        self.receipts.taken(sender)
        return made

    @property
    def lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines(keepends=True)

    def rewrite(self, lines: list[bytes]) -> None:
        self.path.write_bytes(b"".join(lines))


def forge(machine: Machine, entries: int, changed: int) -> None:
    """Another history of that length which is consistent with itself, as its key's owner can write one."""
    machine.path.unlink()
    machine.path.with_suffix(".tree").unlink(missing_ok=True)
    with Ledger(machine.path, lambda: 1_750_000_000.5) as ledger:
        for number in range(entries):
            ledger.record(BO.peer_id, Kind.CONTROL, b"another" if number == changed else b"%d" % number, "permit")
