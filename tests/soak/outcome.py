"""What a soak is asked for, what it has measured, and which of that is growth."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.soak.goodput import Goodput
from tests.soak.growth import Bound, Trend, trend

WARM_UP_S = 60.0
"""Of the churn: buffers, caches and routing tables fill."""
SHORTEST_JUDGED_S = 300.0
"""A shorter churn shows its lines and judges nobody by them: a daemon's heap takes minutes to find its size."""
MEMORY, DESCRIPTORS, RECORDS = "MiB", "descriptors", "directory records beyond those of peers seen lately"
BOUNDS = {MEMORY: Bound(8.0, 0.0), DESCRIPTORS: Bound(8.0, 0.1), RECORDS: Bound(8.0, 0.1)}
"""Of memory, of open file descriptors, and of records that nobody who lives, or lived lately, has announced: how many
of the others a peer keeps changes with everybody who comes, since those nearest to a key keep it."""
KEPT = "directory records"
"""Shown only."""

Samples = Mapping[tuple[str, str], Sequence[tuple[float, float]]]
"""By whose and what (a key of BOUNDS): Unix seconds and value."""


@dataclass(frozen=True)
class Plan:
    """What is asked for."""

    nodes: int
    minutes: float
    calm_s: float
    seed: int
    attribute: bool = False
    """Whether elders' memory is to be attributed to lines."""

    @property
    def warm_up_s(self) -> float:
        """Of the churn, at its beginning: nothing is judged by it."""
        return min(WARM_UP_S, 60 * self.minutes / 4)


@dataclass(frozen=True)
class Growth:
    """How what long-lived processes use has changed."""

    trends: dict[str, Trend] = field(default_factory=dict[str, Trend])
    grown: list[str] = field(default_factory=list[str])
    """What broke its bound."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a soak has measured."""

    calm: Goodput
    churn: Goodput
    majority: str
    """How its death and what brought the run back went, in words."""
    joins: int
    returns: int
    kills: Counter[str]
    longest_gap_s: float
    settled_s: float
    stalled_s: float
    """How long the machine ran nobody."""
    growth: Growth
    aborts: Counter[str]
    """Failed attempts, by reason."""
    refusals: Counter[str]
    """Frames refused, by reason."""
    attributed: list[str] = field(default_factory=list[str])
    """Lines of `attribution.py`."""


def growth(samples: Samples, plan: Plan) -> Growth:
    """Lines through what was sampled after the warm-up, and those that broke their bound."""
    found = Growth()
    first_s = min((at for values in samples.values() for at, _ in values), default=0.0)
    from_s = first_s + plan.calm_s + plan.warm_up_s
    for (whose, what), values in samples.items():
        line = trend([sample for sample in values if sample[0] >= from_s])
        if line is None:
            continue
        found.trends[f"{whose}, {what}"] = line
        if 60 * plan.minutes >= SHORTEST_JUDGED_S and what in BOUNDS and BOUNDS[what].is_broken(line):
            found.grown.append(f"{whose}, {what}: {line}")
    return found


def report(outcome: Outcome) -> str:
    """The figures, one line each."""
    calm, churn = outcome.calm, outcome.churn
    share = churn.tokens_per_s / calm.tokens_per_s if calm.tokens else 0.0
    counted = churn.contributions_per_s / calm.contributions_per_s if calm.contributions else 0.0
    kills = ", ".join(f"{count} {what}" for what, count in sorted(outcome.kills.items()))
    lines = [
        f"undisturbed  {calm}",
        f"under churn  {churn}",
        f"goodput      {100 * counted:.0f} % of the undisturbed run's contributions, {100 * share:.0f} % of its tokens",
        f"churn        {outcome.joins} joined anew, {outcome.returns} came back, killed: {kills}",
        f"progress     longest time without a round {outcome.longest_gap_s:.1f} s (without a majority not counted)",
        *([f"machine      stood still for {outcome.stalled_s:.0f} s in all"] if outcome.stalled_s else []),
        f"majority     {outcome.majority}",
        f"settling     all in one round after {outcome.settled_s:.1f} s",
        *(f"use          {what}: {line}" for what, line in outcome.growth.trends.items()),
        *(f"GROWTH       {line}" for line in outcome.growth.grown),
        *(f"failed       {count} x {reason}" for reason, count in outcome.aborts.most_common(8)),
        *outcome.attributed,
        *(f"refused      {count} x {reason}" for reason, count in outcome.refusals.most_common(8)),
    ]
    return "\n".join(lines)
