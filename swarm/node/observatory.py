"""Answers those who watch: this peer's published figures and its commit records, and nothing that training made.

    Observe(first) -> Observed(summary, head), ObservedRecord*, Missing      or Refusal

The gate permits every answer, and the ledger has a kind of its own for it. Answers are limited in size and in number,
for each who asks and for all together: rounds come first. A bootstrap node answers without a summary.
"""

from collections import OrderedDict
from collections.abc import Callable

from swarm.clock import WallClock, monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.node.portrait import Portrait
from swarm.sovereignty.gate import Denied, Gate
from swarm.state.run import Run

EVERY_S = 0.5
"""Who asks more often is told to wait."""
MOST_ANSWERS_PER_S = 32
MOST_RECORDS = 64
MAX_RECORDS_BYTES = 4 * wire.KIB * wire.KIB
"""Of one answer; a single longer record still goes."""
MAX_SUMMARY_BYTES = 64 * wire.KIB
TOO_OFTEN = "too_often"
_REMEMBERED = 1024


class Observatory:
    """One node's side of being watched."""

    def __init__(
        self,
        *,
        run: Run,
        gate: Gate,
        head: Callable[[], int],
        load_record: Callable[[int], bytes | None],
        portrait: Portrait | None,
        wall_clock: WallClock,
    ) -> None:
        """`head` is the newest round with a record here; `portrait` is what this node says of itself, if anything."""
        self._run = run
        self._gate = gate
        self._head = head
        self._load_record = load_record
        self._portrait = portrait
        self._wall_clock = wall_clock
        self._asked_s: OrderedDict[PeerId, float] = OrderedDict()
        self._second = 0
        self._answered = 0

    async def answer(self, stream: AuditedStream, request: wire.Observe, is_admitted: bool) -> None:
        """Raises ProtocolError for a round that cannot be, StreamLostError when who asked has gone."""
        if not 0 <= request.first <= wire.MAX_ROUND:
            raise ProtocolError(f"there is no round {request.first}")
        permit = self._gate.check_observation(
            recipient=stream.remote, is_admitted=is_admitted, admission=self._run.charter.admission.kind
        )
        if isinstance(permit, Denied):
            await stream.send(wire.Refusal(permit.code, permit.reason))
            return
        if not self._has_turn(stream.remote):
            await stream.send(wire.Refusal(TOO_OFTEN, f"at most once in {EVERY_S:g} s"))
            return
        head, sent_bytes = self._head(), 0
        sealed = None
        if self._portrait is not None:
            sealed = self._portrait.sealed(
                self._wall_clock(), may_tell_loss=self._gate.may_tell_loss, with_links=is_admitted
            )
        await stream.send(wire.Observed(sealed, head), permit)
        if request.first:
            for number in range(request.first, min(head, request.first + MOST_RECORDS - 1) + 1):
                record = self._load_record(number)
                if record is None or (sent_bytes and sent_bytes + len(record) > MAX_RECORDS_BYTES):
                    break
                await stream.send(wire.ObservedRecord(record), permit)
                sent_bytes += len(record)
        await stream.send(wire.Missing())

    def _has_turn(self, peer: PeerId) -> bool:
        """Whether this one, and all together, have not asked too much lately."""
        now_s = monotonic_s()
        if int(now_s) != self._second:
            self._second, self._answered = int(now_s), 0
        last_s = self._asked_s.get(peer)
        if self._answered >= MOST_ANSWERS_PER_S or (last_s is not None and now_s - last_s < EVERY_S):
            return False
        self._answered += 1
        self._asked_s[peer] = now_s
        self._asked_s.move_to_end(peer)
        if len(self._asked_s) > _REMEMBERED:
            self._asked_s.popitem(last=False)
        return True
