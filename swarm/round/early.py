"""Which electors are still at their inner steps, by their own word: a peer that is ready before a quorum can be waits.

Peers are unequal, and rounds may be hours. Who comes early has nobody to form a group with: it must not give its leader
up, fail attempts, or say that anybody is missing. Nor must it wait for the dead, so word that is not renewed counts for
a short while only, whatever the directory still shows; and a trainer that hangs looks like one that is slow, so nobody
is waited for without an end.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from swarm.identity.peer_id import PeerId
from swarm.net import wire

RENEWED_WITHIN_S = 30.0
"""Announcements are made every few seconds, and live as long as this in the directory."""


@dataclass
class StillTraining:
    """What one peer has seen of the announcements of a run."""

    _renewed: dict[PeerId, tuple[float, float]] = field(default_factory=dict[PeerId, tuple[float, float]])
    """Each author's time of its newest word, and this peer's when it came."""

    doubted: set[PeerId] = field(default_factory=set[PeerId])
    """Those whose word is taken no more."""

    def of_round(
        self, peers: Set[PeerId], announced: Mapping[PeerId, wire.Announcement], round_number: int, now_s: float
    ) -> frozenset[PeerId]:
        """Those of `peers` that say they train for this round, and have said so lately."""
        entries = {peer: announced[peer] for peer in peers & announced.keys()}
        for peer, entry in entries.items():
            known = self._renewed.get(peer)
            if known is None or entry.at > known[0]:
                self._renewed[peer] = entry.at, now_s
        return frozenset(
            peer
            for peer, entry in entries.items()
            if (entry.round, entry.phase) == (round_number, "training")
            and now_s - self._renewed[peer][1] <= RENEWED_WITHIN_S
            and peer not in self.doubted
        )
