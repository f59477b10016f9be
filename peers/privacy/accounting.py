"""What a number of DP-SGD steps costs: epsilon at a given delta, by Opacus's RDP analysis of the sampled Gaussian.

    step       every record is in the batch with probability `sample_rate`, independently; each one's gradient is
               clipped to norm C; Gaussian noise of standard deviation `noise_multiplier` x C goes on their sum
    guarantee  (epsilon, delta) for adding or removing one record, over all steps together (Mironov et al. 2019,
               arXiv 1908.10530; conversion of Balle et al. 2020, arXiv 1905.09982)

Pure functions; what was spent is kept by `account.py`. Opacus is imported when the first figure is asked for.
"""

import warnings
from collections.abc import Iterable
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from swarm.errors import UsageError

ORDERS = (*(1 + tenth / 10 for tenth in range(1, 100)), *map(float, range(11, 64)), 128.0, 256.0, 512.0, 1024.0)
"""Renyi orders that are tried: those of dp-accounting, so that the two agree also where a high one is best."""


class Charge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many steps of one kind."""

    noise_multiplier: float
    sample_rate: float
    steps: int


def epsilon_of(charges: Iterable[Charge], delta: float) -> float:
    """The epsilon that all charges together have spent; 0 for none."""
    total = np.zeros(len(ORDERS))
    for charge in charges:
        if charge.steps:
            total += charge.steps * _rdp_per_step(charge.noise_multiplier, charge.sample_rate)
    if not total.any():
        return 0.0
    from opacus.accountants.analysis import rdp

    with warnings.catch_warnings():
        # That the best order is the first or the last of them makes the bound looser, not wrong.
        warnings.simplefilter("ignore", UserWarning)
        epsilon, _ = rdp.get_privacy_spent(orders=list(ORDERS), rdp=list(total), delta=delta)
    return max(0.0, float(epsilon))


def accountant_name() -> str:
    """Which analysis the figures are from, for whoever wants to check them."""
    opacus = require_opacus()
    return f"RDP, opacus {opacus}"


def require_opacus() -> str:
    """The version of Opacus that is installed. Raises UsageError when none is."""
    try:
        from opacus import __version__
    except ModuleNotFoundError:
        raise UsageError('training with privacy = "dp" needs Opacus: pip install "tapestry-swarm[privacy]"') from None
    return __version__


@lru_cache(64)
def _rdp_per_step(noise_multiplier: float, sample_rate: float) -> NDArray[np.float64]:
    from opacus.accountants.analysis import rdp

    return np.asarray(
        rdp.compute_rdp(q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=list(ORDERS)), np.float64
    )
