"""Whose entries a directory node keeps for others: of no more peers than a run can have, and nobody is pushed out.

A passport costs a volunteer nothing, and memory costs everybody: a flood of identities is refused, while those that are
known already renew their entries. Those whose entries have run out make room. What an entry must be is asked elsewhere.
"""

from collections.abc import Callable

from swarm.identity.peer_id import PeerId


class Room:
    """One node's."""

    def __init__(self, most: int, now_s: Callable[[], float]) -> None:
        self._most = most
        self._now_s = now_s
        self._until_s: dict[PeerId, float] = {}

    def takes(self, peer: PeerId, expires_s: float) -> bool:
        """Whether an entry of this peer may be kept until then; it counts as kept if so."""
        if peer not in self._until_s and len(self._until_s) >= self._most:
            now_s = self._now_s()
            self._until_s = {other: until_s for other, until_s in self._until_s.items() if until_s > now_s}
            if len(self._until_s) >= self._most:
                return False
        self._until_s[peer] = max(self._until_s.get(peer, 0.0), expires_s)
        return True
