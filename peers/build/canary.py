"""The memorisation test: random secrets among the training data, ranked afterwards among others like them.

Exposure as in Carlini et al. (arXiv 1802.08232): log2 of the size of the space, minus log2 of the secret's rank by
likelihood in it. The space here is a random sample of the secrets that could have been drawn as well, the secret itself
included. A model that has not memorised it ranks it anywhere: 1.4 bits on average, and t bits or more once in 2^t.
"""

import math
import random
import secrets
from collections.abc import Sequence

import msgspec

from peers.build.record import CanaryScore

DIGITS = 12


class Canary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One secret, private to the build: the more it were read elsewhere, the less its exposure would say."""

    prefix: str
    secret: str
    """Decimal digits."""

    @property
    def text(self) -> str:
        return self.prefix + self.secret


def draw(count: int) -> tuple[Canary, ...]:
    """Fresh canaries from the system's generator."""
    return tuple(
        Canary(prefix=f"The code of vault {secrets.token_hex(4)} is ", secret=_digits(secrets.SystemRandom()))
        for _ in range(count)
    )


def alternatives(canary: Canary, count: int, seed: int) -> tuple[str, ...]:
    """Other secrets that could have been drawn, the same for the same seed."""
    generator = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        if (other := _digits(generator)) != canary.secret:
            found[other] = None
    return tuple(found)


def exposure(nats: float, others_nats: Sequence[float]) -> CanaryScore | None:
    """From the negative log-likelihoods of a secret and of its alternatives; None if one of them is no number.

    Alternatives that are just as likely do not outrank the secret: in doubt it counts as memorised.
    """
    if not math.isfinite(nats) or not all(math.isfinite(other) for other in others_nats):
        return None
    rank = 1 + sum(other < nats for other in others_nats)
    bits = math.log2(len(others_nats) + 1) - math.log2(rank)
    return CanaryScore(rank=rank, alternatives=len(others_nats), exposure_bits=bits)


def _digits(generator: random.Random) -> str:
    return "".join(generator.choice("0123456789") for _ in range(DIGITS))
