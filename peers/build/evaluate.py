"""Scores models on held-out text and on canaries. Runs inside the confined worker; judges nothing (`gate.py`).

A result that is no finite number is left out, and so is missing for the gate.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.build.canary import Canary, alternatives, exposure
from peers.build.examples import read_text
from peers.build.jobs import Scoring
from peers.build.record import CanaryScore, Evaluation, LanguageScore
from peers.scoring import MAX_SCORED_BYTES, bits_per_byte

_ROWS = 128
"""Alternatives in one batch."""


def evaluate(base: Any, before: Any, after: Any, scoring: Scoring) -> Evaluation:
    """The three models side by side in every language; canaries in the last alone. Raises DataError."""
    languages: list[LanguageScore] = []
    for language, names in scoring.held_out.items():
        text = _held_out(names)
        models = {id(model): model for model in (base, before, after)}  # the same one is scored once
        known = {key: _score(model, text, scoring.window) for key, model in models.items()}
        if all(map(math.isfinite, known.values())):
            languages.append(
                LanguageScore(
                    language=language,
                    is_own=language in scoring.own,
                    base=known[id(base)],
                    before=known[id(before)],
                    after=known[id(after)],
                    scored_bytes=len(text),
                )
            )
    return Evaluation(languages=tuple(languages), canaries=tuple(canary_scores(after, scoring)))


def canary_scores(model: Any, scoring: Scoring) -> list[CanaryScore]:
    """The exposure of every canary that can be measured."""
    found: list[CanaryScore] = []
    for canary in scoring.canaries:
        others = alternatives(canary, scoring.alternatives, scoring.seed)
        nats = secret_nats(model, canary, (canary.secret, *others))
        score = exposure(nats[0], nats[1:])
        if score is not None:
            found.append(score)
    return found


def secret_nats(model: Any, canary: Canary, secrets: Sequence[str]) -> list[float]:
    """-ln p of each of these secrets, all equally long, after the canary's prefix."""
    import torch
    from torch.nn import functional

    prefix, length = len(canary.prefix.encode()), len(secrets[0])
    rows = [list(f"{canary.prefix}{secret}".encode()) for secret in secrets]
    found: list[float] = []
    model.eval()
    with torch.no_grad():
        for first in range(0, len(rows), _ROWS):
            ids_BL = torch.tensor(rows[first : first + _ROWS], device=model.device)
            logits_BLV = model(input_ids=ids_BL).logits[:, prefix - 1 : -1].float()
            losses_B = functional.cross_entropy(
                logits_BLV.flatten(0, 1), ids_BL[:, prefix:].flatten(), reduction="none"
            ).view(-1, length)
            found += losses_B.double().sum(1).tolist()
    return found


def _held_out(names: Sequence[str]) -> bytes:
    """The files of a language together, each with an equal share of what is scored."""
    share = MAX_SCORED_BYTES // len(names)
    return b"\n".join(read_text(Path(name))[:share].tobytes() for name in names)


def _score(model: Any, text: bytes, window: int) -> float:
    return bits_per_byte(model, text, window, MAX_SCORED_BYTES) if len(text) >= 2 else math.nan
