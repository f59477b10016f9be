"""What the parts of one attempt's all-reduce share: who takes part, what is gathered so far, and who has failed."""

from collections.abc import Callable
from dataclasses import dataclass, field

from swarm import events
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.tasks import Signal
from swarm.round.delivery import Delivery
from swarm.round.gathered import Gathered
from swarm.round.pace import Pace
from swarm.round.plan import Plan
from swarm.round.secure.circles import members_in
from swarm.round.secure.stage import Stage
from swarm.sovereignty.gate import Denied, Gate
from swarm.sovereignty.permit import Permit
from swarm.state.roster import Roster
from swarm.state.run import Run
from swarm.vector.secure_codes import WORD

_PER_LEVEL = 0.5
"""Of a deadline: how much later an owner one level up closes than those whose sums it waits for."""


@dataclass(eq=False)
class Attempt:
    """One peer's view; `changed` fires whenever something in it may let somebody go on."""

    run: Run
    roster: Roster
    plan: Plan
    seat: int
    """This peer's place in the roster."""
    gate: Gate
    delivery: Delivery
    results: Gathered
    limit_s: float
    """Deadline of the lowest owners."""
    sink: Callable[[events.AnyEvent], None]
    changed: Signal
    secure: Stage | None = None
    """The secure sums of this attempt; None where owners read single updates."""
    failed: set[int] = field(default_factory=set[int])
    """Seats that this peer has given up as owners."""
    parts_pace: Pace = field(default_factory=Pace)
    results_pace: Pace = field(default_factory=Pace)

    def closes_after_s(self, level: int) -> float:
        """How long an owner at this level of the plan waits for those below."""
        return self.limit_s * (1 + _PER_LEVEL * level)

    def lane_rate_bps(self, other: int, chunks: int) -> float | None:
        """What a lane between this peer and another needs; None where it need not be limited.

        What is planned holds for parts and results that share the links; in a secure sum results come after all parts.
        """
        is_planned = self.secure is None and not self.failed and other in self.plan.neighbours(self.seat)
        return self.plan.lane_rate_bps(self.seat, chunks) if is_planned else None

    def above(self, chunk: int) -> int | None:
        """The seat this peer's part or sum of a chunk goes to; None if it makes the result itself."""
        return self.plan.upstream(self.seat, chunk, self.failed)

    def permit(self, contributors: bytes, peer: PeerId) -> Permit | Denied:
        """Whether an aggregate may go to a peer; a denial is an event."""
        region = self.roster.regions.get(peer, "")
        members = self.roster.members_in(contributors)
        if members and self.secure is not None and self.secure.circles.is_across:
            members = members_in(self.roster, self.secure.circle)  # among whom what goes out is masked
        verdict = self.gate.check_aggregate(
            members=members, recipient=peer, recipient_region=region, round_number=self.roster.round
        )
        if isinstance(verdict, Denied):
            self.sink(
                events.UpdateDenied(
                    round=self.roster.round, code=verdict.code, reason=verdict.reason, policy=verdict.policy
                )
            )
        return verdict

    def report_lost(self, seat: int, role: str, reason: str) -> None:
        """Tells whoever watches that a peer is counted on no longer."""
        peer = self.roster.peers[seat]
        self.sink(events.PeerLost(round=self.roster.round, peer=peer, role=role, reason=reason))

    @property
    def part_limit_bytes(self) -> int:
        """No frame that carries a chunk is longer."""
        masked_bytes = 0 if self.secure is None else WORD.itemsize * self.run.grid.length(0)
        return max(self.run.encoded_bytes(0), masked_bytes) + wire.MAX_CHUNK_OVERHEAD_BYTES
