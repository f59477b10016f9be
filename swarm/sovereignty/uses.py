"""What data may be used for, and by which means its privacy is kept: two short lists that policy files choose from.

Only names; what follows from them is decided in `gate.py`, how they combine in `lattice.py`.
"""

from enum import StrEnum


class Use(StrEnum):
    """A purpose. A data set names every one it may serve; all others are refused."""

    SHARED_BASE = "shared-base"
    """Inner steps whose updates go into rounds."""
    SOVEREIGN_BUILD = "sovereign-build"
    """A member's own pipeline, whose results stay with it."""
    EVALUATION = "evaluation"
    """Scoring a model, such as the votes on a candidate base."""


class Privacy(StrEnum):
    """How what is derived from the data is protected on its way out. Ordered by tier, 1 to 4."""

    LICENCE = "licence"
    """Tier 1: licence gates and audit; nothing beyond what every peer does."""
    DP = "dp"
    """Tier 2: record-level differential privacy, as the policy's `[dp]` table says."""
    SECAGG = "secagg"
    """Tier 3: secure aggregation; nobody sees a single update."""
    ENCLAVE = "enclave"
    """Tier 4: an attested enclave."""
