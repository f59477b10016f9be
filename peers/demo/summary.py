"""Conclusions from the result document: averages, who wins, whether bases are equal, who came and went."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from peers.demo.result import Result

LANGUAGE_NAMES = {
    "de": "German",
    "fr": "French",
    "ja": "Japanese",
    "ko": "Korean",
    "vi": "Vietnamese",
    "id": "Indonesian",
}


@dataclass(frozen=True)
class Averages:
    """Held-out bits per byte, averaged over the languages with equal weight."""

    untrained: float
    shared: float
    alone: Mapping[str, float]
    """Per region, in the order of the document."""
    clear: float | None = None
    """Without the run's privacy tier; None where that was not measured."""

    @property
    def best_region(self) -> str:
        """The region that is best alone."""
        return min(self.alone, key=self.alone.__getitem__)

    @property
    def best_alone(self) -> float:
        return self.alone[self.best_region]

    @property
    def saved_percent(self) -> float:
        """By how many per cent the Shared Base needs fewer bits than the best region; negative if more."""
        return 100 * (1 - self.shared / self.best_alone)

    @property
    def shared_wins(self) -> bool:
        """Whether the Shared Base is better on the average than every region alone."""
        return self.shared < self.best_alone


def averages(result: Result) -> Averages | None:
    """The averages, or None when nothing was scored."""
    scores = list(result.bits_per_byte.values())
    if not scores or not scores[0].alone:
        return None
    clear = [score.clear for score in scores if score.clear is not None]
    return Averages(
        untrained=fmean(score.untrained for score in scores),
        shared=fmean(score.shared for score in scores),
        alone={region: fmean(score.alone[region] for score in scores) for region in scores[0].alone},
        clear=fmean(clear) if len(clear) == len(scores) else None,
    )


def region_names(result: Result) -> list[str]:
    """Regions, each once, in the document's order, which gives a region its colour in every plot."""
    return list(dict.fromkeys(result.regions.values()))


def peer_names(result: Result) -> dict[str, str]:
    """A short name per peer: its region, with the end of its id where a region has several peers."""
    sizes = Counter(result.regions.values())
    return {peer: region if sizes[region] == 1 else f"{region} …{peer[-4:]}" for peer, region in result.regions.items()}


def common_digest(result: Result) -> str | None:
    """The digest that most peers hold, or None without peers. All are equal iff each peer's is this one."""
    counts = Counter(result.base_digests.values())
    return counts.most_common(1)[0][0] if counts else None


def bases_equal(result: Result) -> bool:
    """Whether there are peers and all hold the same Shared Base."""
    return len(set(result.base_digests.values())) == 1


def killed_before_round(result: Result) -> int | None:
    """The first round without the killed peer after one with it."""
    present = False
    for record in result.rounds:
        if result.killed in record.peers:
            present = True
        elif present:
            return record.round
    return None


def joined_in_round(result: Result) -> int | None:
    """The first round that the late peer's update is part of."""
    return next((record.round for record in result.rounds if result.joined in record.contributors), None)
