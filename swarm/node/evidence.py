"""Exchanges evidence about ledgers: every round this peer's signed tree head and its receipts go to other peers.

    shows     ShowHead(head, receipts) -> ProveHead(size known there, receipts) -> HeadProof
    is shown  keeps the receipts, answers with its own, checks the proof, keeps the head

A head that does not continue the one known before is a fork: an event, and both heads on disk. Nothing is refused and
nobody is banned for it here. Rounds never wait for any of this.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from swarm import events
from swarm.clock import WallClock
from swarm.errors import ProtocolError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.calls import Caller
from swarm.net.transport import StreamLostError
from swarm.sovereignty.heads import OwnHeads
from swarm.sovereignty.ledger import Ledger
from swarm.sovereignty.receipts import MAX_AT_ONCE, Receipts
from swarm.sovereignty.signed import MAX_RECEIPT_BYTES, Signed, TreeHead
from swarm.sovereignty.witness import Forks, Witnesses, judge
from swarm.state.electorate import few_of

MOST_SHOWN = 16
"""Peers a head is shown to each round, others the next time: a fork has to fool all of them for ever."""
CALL_LIMIT_S = 10.0
LAST_CALL_LIMIT_S = 0.4
"""Whoever leaves shows its last head to those who are quick."""
MAX_PROOF_BYTES = 8 * wire.KIB
MAX_EVIDENCE_BYTES = MAX_AT_ONCE * (MAX_RECEIPT_BYTES + wire.KIB)


class Evidence:
    """One peer's part in everybody's evidence."""

    def __init__(
        self,
        *,
        run_id: str,
        identity: Identity,
        ledger: Ledger,
        folder: Path,
        sink: Callable[[events.AnyEvent], None],
        wall_clock: WallClock,
    ) -> None:
        """Opens what the state folder holds.

        Raises:
            StateError: it cannot be used, or the ledger is not the one this peer has signed.
        """
        self._run_id = run_id
        self._ledger = ledger
        self._heads = OwnHeads(folder, identity, run_id, ledger)
        self._witnesses = Witnesses(folder)
        self._receipts = Receipts(folder, identity, run_id)
        self._sink = sink
        self._wall_clock = wall_clock
        self._me = identity.peer_id
        self._round = 0
        self._peers: tuple[PeerId, ...] = ()
        self._is_due = asyncio.Event()

    # --- showing ------------------------------------------------------------------------------------------------------

    def round_ended(self, round_number: int, peers: Collection[PeerId]) -> None:
        """A head is due; `peers` can be asked to keep it."""
        self._round = round_number
        self._peers = tuple(few_of(sorted(set(peers) - {self._me}), MOST_SHOWN, f"{self._me}/{round_number}"))
        self._is_due.set()

    async def run(self, caller: Caller) -> None:
        """Shows a head whenever one is due, until cancelled. Raises StateError when the disk refuses."""
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            await self._show_all(caller, CALL_LIMIT_S)

    async def finish(self, caller: Caller) -> None:
        """The last head. Raises StateError when the disk refuses."""
        await self._show_all(caller, LAST_CALL_LIMIT_S)

    async def _show_all(self, caller: Caller, limit_s: float) -> None:
        head = await self._heads.sign(self._round, self._wall_clock())
        if head is not None:
            await asyncio.gather(*(self._show(caller, peer, head, limit_s) for peer in self._peers))

    async def _show(self, caller: Caller, peer: PeerId, head: Signed, limit_s: float) -> None:
        receipts = self._countersign(peer)
        try:
            async with asyncio.timeout(limit_s):
                stream = await caller.open(peer, wire.ShowHead(head, receipts), limit_s)
                try:
                    asked = await stream.receive(wire.ProveHead | wire.Refusal, MAX_EVIDENCE_BYTES)
                    if isinstance(asked, wire.ProveHead):
                        self._receipts.taken(peer)
                        self._keep_receipts(stream.remote, asked.receipts)
                        small, large = sorted((asked.size, TreeHead.read(head).size))
                        await stream.send(wire.HeadProof(tuple(self._ledger.proof(small, large))))
                finally:
                    stream.close()
        except (StreamLostError, ProtocolError, TimeoutError):
            return  # the next round's head says all that this one says

    # --- being shown --------------------------------------------------------------------------------------------------

    async def serve(self, stream: AuditedStream, request: wire.ShowHead) -> None:
        """Keeps what another peer shows. Raises ProtocolError, StreamLostError, or StateError when the disk refuses."""
        head = TreeHead.read(request.head)
        if request.head.author != stream.remote or head.run_id != self._run_id:
            raise ProtocolError("a tree head of another peer, or of another run")
        if not self._witnesses.has_room(stream.remote):
            raise ProtocolError("more witnessed peers than are kept here")
        self._keep_receipts(stream.remote, request.receipts)
        known = self._witnesses.known(stream.remote)
        await stream.send(wire.ProveHead(0 if known is None else known.size, self._countersign(stream.remote)))
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                proof = await stream.receive(wire.HeadProof, MAX_PROOF_BYTES)
        except (TimeoutError, StreamLostError):
            self._witnesses.keep_unproven(request.head)
            return
        self._receipts.taken(stream.remote)
        verdict = judge(known, head, proof.hashes)
        if not isinstance(verdict, Forks):
            self._witnesses.keep(request.head, head)
        elif self._witnesses.keep_fork(request.head):
            assert known is not None
            self._sink(
                events.LedgerForked(
                    peer=stream.remote, known_entries=known.size, shown_entries=head.size, reason=verdict.reason
                )
            )

    # --- receipts -----------------------------------------------------------------------------------------------------

    def _countersign(self, peer: PeerId) -> tuple[Signed, ...]:
        assert self._ledger.inbox is not None, "evidence needs a ledger that is kept"
        return self._receipts.countersign(self._ledger.inbox, peer, self._wall_clock())

    def _keep_receipts(self, author: PeerId, receipts: Sequence[Signed]) -> None:
        if len(receipts) > MAX_AT_ONCE or any(receipt.author != author for receipt in receipts):
            raise ProtocolError("receipts of another peer, or more than go at once")
        for receipt in receipts:
            self._receipts.keep(receipt, self._ledger.size)
