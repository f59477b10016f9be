"""When a leader closes its roster: a pure decision on who is there, who is expected, and how long it has waited."""

from collections.abc import Set
from dataclasses import dataclass

from swarm.identity.peer_id import PeerId


@dataclass(frozen=True)
class Close:
    """The roster is what is there."""


@dataclass(frozen=True)
class Wait:
    """Somebody is expected, or the quorum is not there yet."""

    has_quorum: bool


def decide(
    *,
    joined: Set[PeerId],
    has_quorum: bool,
    expected: Set[PeerId],
    waited_s: float,
    limit_s: float,
) -> Close | Wait:
    """Closes early once all that are expected have joined, at the deadline with whoever has; never without a quorum.

    `has_quorum`: whether the leader holds promises of this ballot by a quorum.
    """
    if has_quorum and (expected <= joined or waited_s >= limit_s):
        return Close()
    return Wait(has_quorum)
