"""Goodput: what was counted in committed rounds, per second of wall time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from swarm.identity.peer_id import PeerId
from tests.soak.watch import Commit, Watch


@dataclass(frozen=True)
class Goodput:
    seconds: float
    rounds: int
    contributions: int
    tokens: int

    @property
    def contributions_per_s(self) -> float:
        return self.contributions / self.seconds

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds

    def __str__(self) -> str:
        return (
            f"{self.rounds} rounds in {self.seconds:.0f} s, {self.contributions_per_s:.2f} counted contributions/s, "
            f"{self.tokens_per_s:,.0f} tokens/s"
        )


def goodput(watch: Watch, names: Mapping[PeerId, str], from_unix_s: float, to_unix_s: float) -> Goodput:
    """What was counted in the rounds committed between two instants."""
    rounds = {number: commit for number, commit in watch.commits.items() if from_unix_s <= commit.at < to_unix_s}
    counted = [(names[peer], number) for number, commit in rounds.items() for peer in commit.contributors]
    tokens = sum(watch.tokens.get(key, 0) for key in counted)
    return Goodput(to_unix_s - from_unix_s, len(rounds), len(counted), tokens)


def longest_gap_s(
    commits: Mapping[int, Commit], stalls: Sequence[tuple[float, float]], from_unix_s: float, to_unix_s: float
) -> float:
    """The longest time without a new round between two instants, both ends included.

    `stalls` are spans in which this machine ran nobody, the one that measures included: they count as no time.
    """
    instants = sorted(commit.at for commit in commits.values() if from_unix_s <= commit.at <= to_unix_s)
    gaps = pairwise([from_unix_s, *instants, to_unix_s])
    return max(later - earlier - overlap_s(stalls, earlier, later) for earlier, later in gaps)


def overlap_s(stalls: Sequence[tuple[float, float]], from_s: float, to_s: float) -> float:
    """How much of a span lies in stalls."""
    return sum(max(0.0, min(end, to_s) - max(begin, from_s)) for begin, end in stalls)
