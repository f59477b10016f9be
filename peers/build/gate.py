"""The gate after every stage: is each result there, and within its limit? Pure.

A missing result blocks like a bad one, and whatever can be seen to be missing is said before a stage is trained.
"""

import math
from collections.abc import Collection, Sequence

from peers.build.record import Evaluation, LanguageScore, Limits


def missing(own: Collection[str], held_out: Collection[str], before: Collection[str]) -> tuple[str, ...]:
    """Which held-out text is not there to score a build on.

    Args:
        own: languages that a stage trains on.
        held_out: languages with text for evaluation.
        before: languages that earlier stages were scored in.
    """
    give = "give the policy a data set in it for evaluation"
    found = [
        f"no held-out text in {language!r}, which a stage trains on: {give}"
        for language in sorted({*own} - {*held_out})
    ]
    found += [
        f"no held-out text in {language!r}, in which earlier stages were scored: {give}"
        for language in sorted({*before} - {*own, *held_out})
    ]
    if not {*held_out} - {*own}:
        found.append(
            "no held-out text in another language, to tell what the build has kept of the Shared Base: "
            "give the policy a data set in one for evaluation"
        )
    return tuple(found)


def judge(evaluation: Evaluation, languages: Collection[str], canaries: int, limits: Limits) -> tuple[str, ...]:
    """Why a stage is refused; empty if it is accepted.

    Args:
        languages: those that must have a result.
        canaries: how many must have one.
    """
    scored = {score.language for score in evaluation.languages if math.isfinite(score.after)}
    return (
        *(f"no result in {language!r}" for language in sorted({*languages} - scored)),
        *(_forgotten(score, limits) for score in evaluation.languages if not _is_kept(score, limits)),
        *_memorised([each.exposure_bits for each in evaluation.canaries], canaries, limits),
    )


def retention(evaluation: Evaluation) -> float | None:
    """How many times the Shared Base's bits per byte the model needs in the other language it has lost most in."""
    return max((score.after / score.base for score in evaluation.languages if not score.is_own), default=None)


def _is_kept(score: LanguageScore, limits: Limits) -> bool:
    return score.is_own or score.after <= score.base * limits.retention_factor


def _forgotten(score: LanguageScore, limits: Limits) -> str:
    return (
        f"{score.language}: {score.after:.3f} bits per byte, the Shared Base {score.base:.3f}; "
        f"at most {limits.retention_factor:g} times that is allowed (retention_factor)"
    )


def _memorised(exposures: Sequence[float], canaries: int, limits: Limits) -> list[str]:
    measured = [bits for bits in exposures if math.isfinite(bits)]
    if len(measured) < canaries:
        return [f"{len(measured)} of {canaries} canaries have a result"]
    worst = max(measured, default=0.0)
    if worst <= limits.max_exposure_bits:
        return []
    return [
        f"a canary has an exposure of {worst:.1f} bits, at most {limits.max_exposure_bits:g} are allowed "
        "(max_exposure_bits): the stage memorises what stands in its data"
    ]
