"""Scores models on held-out text and on canaries. Runs inside the confined worker; judges nothing (`gate.py`).

A result that is no finite number is left out, and so is missing for the gate.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from peers.build.jobs import Scoring
from peers.build.record import CanaryScore, Evaluation, LanguageScore
from peers.build.tokens import encoder, reading_of
from peers.ecosystem.reading import Reading
from peers.extraction import causal_score, measure
from peers.scoring import MAX_SCORED_BYTES
from swarm.errors import DataError

HeldOut = Mapping[str, Sequence[Path]]
"""Files of plain text by language."""
_SEED = 0
"""Of the secrets that canaries are ranked among: a model scored twice scores the same."""


def evaluate(
    load: Callable[[str], Any], base: str, before: str, after: str, held_out: HeldOut, scoring: Scoring
) -> Evaluation:
    """Three model folders in every language, and canaries in the last. One model is in memory at a time."""
    known: dict[str, Mapping[str, float]] = {}
    canaries: tuple[CanaryScore, ...] = ()
    for folder in dict.fromkeys((base, before, after)):
        model = load(folder)
        reading = reading_of(Path(folder), model.config)
        known[folder] = language_scores(model, reading, held_out, scoring.window)
        if folder == after:
            canaries = canary_scores(model, reading, scoring)
    languages = tuple(
        LanguageScore(
            language=language,
            is_own=language in scoring.own,
            base=known[base][language],
            before=known[before][language],
            after=known[after][language],
            scored_bytes=sum(min(path.stat().st_size, MAX_SCORED_BYTES // len(paths)) for path in paths),
        )
        for language, paths in held_out.items()
        if all(language in scores for scores in known.values())
    )
    return Evaluation(languages=languages, canaries=canaries)


def language_scores(model: Any, reading: Reading, held_out: HeldOut, window: int) -> dict[str, float]:
    """Bits per byte by language, of those that can be measured."""
    found: dict[str, float] = {}
    for language, paths in held_out.items():
        score = reading.scorer(paths, window)
        try:
            value = math.nan if score is None else score(model)
        except ValueError:  # the text is too short to be scored
            value = math.nan
        if math.isfinite(value):
            found[language] = value
    return found


def canary_scores(model: Any, reading: Reading, scoring: Scoring) -> tuple[CanaryScore, ...]:
    """The exposure (peers.extraction) of every canary that can be measured."""
    encode = encoder(reading)
    likelihood = causal_score(model, lambda text: encode(text.encode()))
    found: list[CanaryScore] = []
    for canary in scoring.canaries:
        try:
            (exposure,) = measure(likelihood, [canary], scoring.alternatives, random.Random(_SEED))
        except DataError:
            continue  # the model gives a NaN
        found.append(CanaryScore(rank=exposure.rank, alternatives=scoring.alternatives, exposure_bits=exposure.bits))
    return tuple(found)
