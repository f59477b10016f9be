"""Exposure by rank: what an unseen canary gets, what a remembered one gets, and what the gate makes of it."""

import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from peers.extraction import (
    Canary,
    byte_tokens,
    causal_score,
    judge,
    measure,
    new_canaries,
    read_canaries,
    write_canaries,
)
from peers.model import build
from swarm.errors import DataError, UsageError
from tests.integration.papers import MODEL

CANARY = Canary(prefix="The number is ", secret="271828182845", alphabet="0123456789", suffix=".")


def by_hash(texts: Sequence[str]) -> Sequence[float]:
    """A model that has seen none: an order that has nothing to do with the canaries."""
    return [random.Random(text).random() for text in texts]


def test_a_remembered_canary_has_the_highest_exposure() -> None:
    def remembers(texts: Sequence[str]) -> Sequence[float]:
        return [0.5 if text == CANARY.text else 1.0 + each for text, each in zip(texts, by_hash(texts), strict=True)]

    (found,) = measure(remembers, [CANARY], 255, random.Random(1))
    assert (found.rank, found.bits) == (1, 8.0)
    assert not judge([found], 255, 7.0).passed


def test_rank_counts_the_references_that_are_likelier() -> None:
    def third(texts: Sequence[str]) -> Sequence[float]:
        return [2.5, *range(len(texts) - 1)]

    (found,) = measure(third, [CANARY], 63, random.Random(1))
    assert found.rank == 4 and found.bits == pytest.approx(math.log2(64) - 2)


def test_a_model_that_tells_nothing_apart_does_not_pass() -> None:
    (found,) = measure(lambda texts: [1.0] * len(texts), [CANARY], 255, random.Random(1))
    assert not judge([found], 255, 8.0).passed


def test_exposures_of_unseen_canaries_are_as_rare_as_stated() -> None:
    exposures = measure(by_hash, new_canaries(400, random.Random(2)), 127, random.Random(3))
    for bits in (1, 2, 3):
        share = sum(one.bits >= bits for one in exposures) / len(exposures)
        assert abs(share - 2.0**-bits) < 0.075
    assert judge(exposures[:4], 127, 6.0).false_alarm == pytest.approx(4 / 64)


def test_a_real_model_scores_the_sum_over_its_tokens_whatever_the_batch() -> None:
    import json

    import torch

    model = build(json.dumps(MODEL), seed=4)
    texts = [CANARY.text, "short", "of another length"]
    together = causal_score(model, byte_tokens)(texts)
    for text, nats in zip(texts, together, strict=True):
        ids_1L = torch.tensor([byte_tokens(text)])
        with torch.no_grad():
            log_p_LV = model(input_ids=ids_1L).logits[0].log_softmax(-1)
        slow = -sum(float(log_p_LV[at, token]) for at, token in enumerate(ids_1L[0, 1:]))
        assert nats == pytest.approx(slow, rel=1e-4)


def test_a_threshold_that_cannot_be_reached_is_refused() -> None:
    with pytest.raises(UsageError, match="never be reached"):
        judge(measure(by_hash, [CANARY], 63), 63, 9.0)


def test_a_secret_too_short_for_its_references_is_refused() -> None:
    with pytest.raises(DataError, match="too short"):
        measure(by_hash, [Canary(prefix="a ", secret="12", alphabet="0123456789")], 63)


def test_a_model_with_nans_is_refused() -> None:
    with pytest.raises(DataError, match="NaN"):
        measure(lambda texts: [math.nan] * len(texts), [CANARY], 63)


def test_canary_files_are_read_back_and_bad_ones_refused(tmp_path: Path) -> None:
    made = new_canaries(3)
    assert len({canary.secret for canary in made}) == 3
    write_canaries(tmp_path / "c.json", made)
    assert read_canaries(tmp_path / "c.json") == made
    (tmp_path / "c.json").write_text('{"version": 2, "canaries": []}')
    with pytest.raises(DataError, match="version 2"):
        read_canaries(tmp_path / "c.json")
    (tmp_path / "c.json").write_text("[]")
    with pytest.raises(DataError, match="no canary file"):
        read_canaries(tmp_path / "c.json")
    write_canaries(tmp_path / "c.json", [Canary(prefix="a", secret="x", alphabet="01")])
    with pytest.raises(DataError, match="alphabet"):
        read_canaries(tmp_path / "c.json")
    with pytest.raises(UsageError, match="does not exist"):
        read_canaries(tmp_path / "none.json")
