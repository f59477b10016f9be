"""The gate after every stage: is each result there, and within its limit? Pure.

A missing result blocks like a bad one, and whatever can be seen to be missing is said before a stage is trained.
"""

import math
from collections.abc import Collection, Sequence

from peers.build.record import Canaries, CanaryScore, Evaluation, LanguageScore, Limits


def missing(own: Collection[str], held_out: Collection[str]) -> tuple[str, ...]:
    """Which held-out text is not there to score a build on.

    Args:
        own: languages that a stage trains on.
        held_out: languages with text for evaluation.
    """
    found = [
        f"no held-out text in {language!r}, which a stage trains on: give the policy a data set in it for evaluation"
        for language in sorted(set(own) - set(held_out))
    ]
    if not set(held_out) - set(own):
        found.append(
            "no held-out text in another language, to tell what the build has kept of the Shared Base: "
            "give the policy a data set in one for evaluation"
        )
    return tuple(found)


def judge(evaluation: Evaluation, own: Collection[str], canaries: Canaries, limits: Limits) -> tuple[str, ...]:
    """Why a stage is refused; empty if it is accepted. `canaries` are those of the stage itself."""
    scored = [score.language for score in evaluation.languages if _is_whole(score)]
    return (
        *missing(own, scored),
        *(_forgotten(score, limits) for score in _others(evaluation.languages) if not _is_kept(score, limits)),
        *_memorised(evaluation.canaries, canaries, limits),
    )


def _others(scores: Sequence[LanguageScore]) -> list[LanguageScore]:
    return [score for score in scores if not score.is_own and _is_whole(score)]


def _is_whole(score: LanguageScore) -> bool:
    return score.base > 0 and all(math.isfinite(each) for each in (score.base, score.before, score.after))


def _is_kept(score: LanguageScore, limits: Limits) -> bool:
    return score.after <= score.base * limits.retention_factor


def _forgotten(score: LanguageScore, limits: Limits) -> str:
    return (
        f"{score.language}: {score.after:.3f} bits per byte, the Shared Base {score.base:.3f}; "
        f"at most {limits.retention_factor:g} times that is allowed (retention_factor)"
    )


def _memorised(scores: Sequence[CanaryScore], canaries: Canaries, limits: Limits) -> list[str]:
    if len(scores) < canaries.count:
        return [f"{len(scores)} of {canaries.count} canaries have a result"]
    worst = max(score.exposure_bits for score in scores)
    if worst <= limits.max_exposure_bits:
        return []
    return [
        f"a canary has an exposure of {worst:.1f} bits, at most {limits.max_exposure_bits:g} are allowed "
        "(max_exposure_bits): the stage memorises what stands in its data"
    ]
