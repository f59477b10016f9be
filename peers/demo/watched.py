"""A peer of the pilot as its events show it, and the rounds as several peers saw them. Starts and stops nothing."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from peers.demo.processes import PeerCommand
from peers.demo.result import RoundRecord
from swarm import events


@dataclass
class Watched:
    """One peer and what its events said."""

    command: PeerCommand
    seed: int
    """Of the order in which it draws its text."""
    seen: list[events.Stamped] = field(default_factory=list)
    is_killed: bool = False

    @property
    def id(self) -> str:
        return self.command.papers.peer_id

    def of(self, kind: type[Any]) -> list[Any]:
        return [stamped.event for stamped in self.seen if isinstance(stamped.event, kind)]

    @property
    def round(self) -> int:
        """The last round this peer saw committed."""
        return max((event.round for event in self.of(events.RoundCommitted)), default=0)

    @property
    def digest(self) -> str:
        """Hex digest of the state it holds."""
        committed = self.of(events.RoundCommitted)
        return committed[-1].state_digest if committed else self.of(events.StateReady)[-1].digest


def rounds_seen(peers: Iterable[Watched]) -> tuple[RoundRecord, ...]:
    """Each round as the first of these peers that saw it committed timed it."""
    records: dict[int, RoundRecord] = {}
    for peer in peers:
        forming = {(event.round, event.attempt): event.form_s for event in peer.of(events.RosterReady)}
        reducing = {(event.round, event.attempt): event.reduce_s for event in peer.of(events.Reduced)}
        for event in peer.of(events.RoundCommitted):
            records.setdefault(
                event.round,
                RoundRecord(
                    round=event.round,
                    attempt=event.attempt,
                    contributors=event.contributors,
                    peers=event.peers,
                    seconds=event.seconds,
                    form_s=forming.get((event.round, event.attempt), 0.0),
                    reduce_s=reducing.get((event.round, event.attempt), 0.0),
                    state_digest=event.state_digest,
                    crossed=event.crossed,
                ),
            )
    return tuple(records[number] for number in sorted(records))
