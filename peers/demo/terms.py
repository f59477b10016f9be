"""On what terms a pilot is run: the model, the batches, who takes part, and which privacy tier is in force. Data only.

plain    one member per region; single updates cross borders
dp       tier 2: the same members, each training under record-level differential privacy
secagg   tier 3: three members per region; what leaves a region is the masked sum of all of them
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from swarm.charter import manifest
from swarm.charter.rules import SECURE_MEMBERS
from swarm.sovereignty.policy import DpRules
from swarm.sovereignty.uses import Privacy

PilotTier = Literal["dp", "secagg"]
"""What `tapestry demo --privacy` takes: names of `Privacy`."""

HELD_OUT_BYTES = 16_384
"""Of text that nobody trained on, per language; the same bytes for every model."""
PILOT_MODEL: dict[str, object] = {
    "model_type": "llama",
    "vocab_size": 256,
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
"""The pilot's byte-level model, about 0.6 M parameters: token ids are byte values."""
SMALL_MODEL: dict[str, object] = {
    **PILOT_MODEL,
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_hidden_layers": 2,
}
"""About 0.12 M parameters: the noise of differential privacy grows with their number, what a record says does not."""

DP_BATCH, DP_SEQUENCE_BYTES = 128, 128
"""Noise is added once to the sum of a batch: a large one drowns less in it. Short sequences are more records."""
DP_INNER_LR = 4e-3
DP_RULES = DpRules(epsilon=8.0, noise_multiplier=0.8, max_grad_norm=1.0)
"""Five rounds of ten steps of three regions came to 5.20 bits per byte, and to 4.79 without noise and clipping. With
half the learning rate it was 5.61, and noise 0.6, which spends twice the epsilon, made that 5.52."""


_DEFAULT, _MEAN = manifest.Training(), manifest.Mean()


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a tier changes in the pilot."""

    privacy: Privacy = Privacy.LICENCE
    """What every member's policy demands for its text."""
    model: Mapping[str, object]
    """A `transformers` config."""
    batch_size: int
    """Sequences of an inner step."""
    sequence_bytes: int
    inner_lr: float
    members_per_region: int = 1
    min_contributors: int = 1
    aggregation: manifest.Aggregation = _MEAN
    dp: DpRules | None = None
    """The `[dp]` table of members whose own policy has none."""

    @property
    def crossing(self) -> str:
        """What crosses borders, in words for the screen and the report."""
        if self.min_contributors == 1:
            return "single updates cross borders (min_contributors = 1)"
        return f"only sums of {self.min_contributors} members or more cross borders"


PLAIN = Terms(
    model=PILOT_MODEL,
    batch_size=_DEFAULT.batch_size,
    sequence_bytes=_DEFAULT.sequence_length,
    inner_lr=_DEFAULT.inner_lr,
)
_DP = Terms(
    privacy=Privacy.DP,
    model=SMALL_MODEL,
    batch_size=DP_BATCH,
    sequence_bytes=DP_SEQUENCE_BYTES,
    inner_lr=DP_INNER_LR,
    dp=DP_RULES,
)
_SECAGG = Terms(
    privacy=Privacy.SECAGG,
    model=PILOT_MODEL,
    batch_size=_DEFAULT.batch_size,
    sequence_bytes=_DEFAULT.sequence_length,
    inner_lr=_DEFAULT.inner_lr,
    members_per_region=SECURE_MEMBERS,
    min_contributors=SECURE_MEMBERS,
    aggregation=manifest.SecureSum(),
)


def terms_of(tier: PilotTier | None) -> Terms:
    """The terms of the tier that was asked for."""
    match tier:
        case None:
            return PLAIN
        case "dp":
            return _DP
        case "secagg":
            return _SECAGG
