"""How long a round's inner steps take, so that the swarm meets its token target with everybody in time: pure functions.

    planned seconds = the charter's target_tokens / sum of the paces in the last committed roster

Every join says how fast its peer trains, and every peer holds the same last roster: so all plan the same length from
signed statements, with no clock to agree on and nobody to ask. A fast peer makes more inner steps in it than a slow
one. Until a pace is known (a run's first round) there is no plan, and a round is the charter's `inner_steps`. Where the
plan turns out wrong, the progress that peers announce in the directory ends the round.
"""

from collections.abc import Mapping, Sequence, Set
from statistics import median_low

from swarm.identity.peer_id import PeerId
from swarm.net import wire

LARGEST_PACE = 32.0
"""Times the median: a pace claimed above it counts as that much, so that one peer's word cannot make rounds empty."""
LONGEST_S = 86_400.0
EXCESS = 1.1
"""Times the target: announced progress is some seconds old, so it corrects a plan only where that is far off."""
OLDEST_PROGRESS_S = 5.0
"""Progress is carried forward by so much at most, whatever clocks say."""
OVERRUN = 0.01
"""Of a round: a peer may take so much longer, so that a step that all but fits is made."""


def planned_s(target_tokens: int, paces: Sequence[float]) -> float | None:
    """Seconds from base to update in the next round; None while it has to be counted in inner steps.

    Args:
        target_tokens: the charter's, 0 if rounds are counted in inner steps.
        paces: tokens per second of each contributor to the last round, 0 where it is not known.
    """
    known = [pace for pace in paces if pace > 0]
    if not target_tokens or not known:
        return None
    return min(target_tokens / swarm_pace(known), LONGEST_S)


def swarm_pace(paces: Sequence[float]) -> float:
    """Tokens per second that all make together, no peer counting for more than `LARGEST_PACE`."""
    known = [pace for pace in paces if pace > 0]
    if not known:
        return 0.0
    most = LARGEST_PACE * median_low(known)
    return sum(min(pace, most) for pace in known)


def is_round_over(
    target_tokens: int,
    round_number: int,
    electors: Set[PeerId],
    announced: Mapping[PeerId, wire.Announcement],
    now_s: float,
) -> bool:
    """Whether half of the electors are ready, or all together have made well more tokens than the target.

    A plan is too long if those who were in the last round are not those who train now, and there is none in the first
    round: then the progress that peers announce ends it. Where the plan holds, this comes after it.
    """
    if not target_tokens:
        return False
    working = {peer: entry for peer, entry in announced.items() if entry.round == round_number}
    ready = sum(peer in electors for peer, entry in working.items() if entry.phase == "ready")
    if 2 * ready >= len(electors):
        return True
    made = sum(
        entry.tokens + entry.tokens_per_s * min(max(0.0, now_s - entry.at), OLDEST_PROGRESS_S)
        for entry in working.values()
        if entry.phase == "training"
    )
    return made > EXCESS * target_tokens


def another_fits(*, elapsed_s: float, step_s: float, planned_s: float) -> bool:
    """Whether a step that takes `step_s` is over in time."""
    return elapsed_s + step_s <= planned_s * (1 + OVERRUN)
