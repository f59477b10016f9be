"""How long to wait: learnt from what was observed, never a fixed wait.

deadline = median + mad_factor x MAD of the last observations, between the charter's floor and ceiling; with nothing
observed yet it is a first guess by the caller, or the ceiling. MAD is the median absolute deviation, taken as at
least a quarter of the median.
"""

from collections import deque
from enum import StrEnum
from statistics import median

from swarm.charter.manifest import Deadlines

_KEPT = 32
_LEAST_SPREAD = 0.25
"""Of the median: a few equal observations have a MAD of zero, and say little about the next."""
_MOST_DOUBTS = 32
"""Attempts after which a deadline grows no more; any sensible ceiling is reached long before."""


class Phase(StrEnum):
    """What is timed, each with its own observations."""

    JOIN = "join"
    """From a peer's join to the last one; a leader counts it from when half of the electorate is there."""
    REDUCE = "reduce"
    """From the roster to the last chunk's result."""
    SCORE = "score"
    """From the leader's question what members say of a candidate base to its proposal."""
    VOTE = "vote"
    """From the proposal to the certificate."""


def deadline_s(observed_s: list[float], rule: Deadlines, first_guess_s: float | None = None) -> float:
    """Seconds to wait, from durations of the same phase in earlier rounds."""
    if not observed_s:
        return rule.ceiling_s if first_guess_s is None else min(first_guess_s, rule.ceiling_s)
    middle = median(observed_s)
    spread = max(median(abs(value - middle) for value in observed_s), _LEAST_SPREAD * middle)
    return min(max(middle + rule.mad_factor * spread, rule.floor_s), rule.ceiling_s)


class DeadlineBook:
    """A peer's observations, by phase."""

    def __init__(self, rule: Deadlines) -> None:
        self.rule = rule
        """The charter's; an amendment may bring another one."""
        self._observed_s: dict[Phase, deque[float]] = {phase: deque(maxlen=_KEPT) for phase in Phase}

    def observe(self, phase: Phase, seconds: float) -> None:
        self._observed_s[phase].append(seconds)

    def usual_s(self, phase: Phase) -> float:
        """The median of what was observed; 0 if nothing was."""
        return median(self._observed_s[phase]) if self._observed_s[phase] else 0.0

    def limit_s(self, phase: Phase, attempt: int, first_guess_s: float | None = None) -> float:
        """The deadline of a phase, half as long again for every failed attempt, never above the ceiling."""
        limit = deadline_s(list(self._observed_s[phase]), self.rule, first_guess_s)
        return min(limit * 1.5 ** min(attempt - 1, _MOST_DOUBTS), self.rule.ceiling_s)
