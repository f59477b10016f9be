"""The gate: nothing passes on a missing result, and no limit is passed unseen."""

import math

import msgspec
import pytest

from peers.build.gate import judge, missing, retention
from peers.build.record import Evaluation, Limits
from tests.build.records import GOOD, exposed, score

LANGUAGES, CANARIES = ("de", "fr"), 2


def changed(**fields: object) -> Evaluation:
    return msgspec.structs.replace(GOOD, **fields)


def test_good_results_pass() -> None:
    assert judge(GOOD, LANGUAGES, CANARIES, Limits()) == ()
    assert retention(GOOD) == pytest.approx(3.1 / 3.0)


@pytest.mark.parametrize(
    ("evaluation", "cause"),
    [
        (changed(languages=GOOD.languages[1:]), "no result in 'de'"),
        (changed(languages=GOOD.languages[:1]), "no result in 'fr'"),
        (changed(languages=(GOOD.languages[0], score("fr", math.nan))), "no result in 'fr'"),
        (changed(languages=()), "no result in 'de'"),
        (changed(canaries=GOOD.canaries[:1]), "1 of 2 canaries have a result"),
        (changed(canaries=()), "0 of 2 canaries have a result"),
        (changed(languages=(GOOD.languages[0], score("fr", 3.76))), "at most 1.25 times"),
        (changed(canaries=(exposed(1.0), exposed(9.1))), "an exposure of 9.1 bits"),
        (changed(canaries=(exposed(1.0), exposed(math.nan))), "1 of 2 canaries have a result"),
    ],
)
def test_what_is_missing_or_beyond_its_limit_is_refused(evaluation: Evaluation, cause: str) -> None:
    reasons = judge(evaluation, LANGUAGES, CANARIES, Limits())
    assert cause in "; ".join(reasons)


def test_a_members_own_language_may_get_worse_but_not_others() -> None:
    worse = changed(languages=(score("de", 5.0, is_own=True), GOOD.languages[1]))
    assert judge(worse, LANGUAGES, CANARIES, Limits()) == ()


def test_limits_are_those_that_were_asked_for() -> None:
    limits = Limits(retention_factor=1.01, max_exposure_bits=1.5)
    assert len(judge(GOOD, LANGUAGES, CANARIES, limits)) == 2


def test_text_that_is_not_there_is_said_before_anything_is_trained() -> None:
    assert missing({"de"}, {"de", "fr"}, {"fr"}) == ()
    (no_own,) = missing({"de"}, {"fr"}, ())
    assert no_own.startswith("no held-out text in 'de', which a stage trains on")
    (no_other,) = missing({"de"}, {"de"}, ())
    assert no_other.startswith("no held-out text in another language")
    (gone,) = missing({"de"}, {"de", "ja"}, {"de", "fr", "ja"})
    assert gone.startswith("no held-out text in 'fr', in which earlier stages were scored")
