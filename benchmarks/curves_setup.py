"""What `tapestry bench curves` trains, and the ways of sending updates that it compares. Data only; nothing runs here.

Sizes are chosen so that 200 rounds take about a minute on one core. The learning rate ends near zero, so that the last
point of a curve is not whatever the last batches were.
"""

import json
import math
from collections.abc import Iterable
from typing import Literal

import msgspec

from swarm.charter.manifest import BLOCK_ELEMENTS, Nesterov

CodecName = Literal["float32", "bfloat16", "int8", "int4"]

CODECS: tuple[CodecName, ...] = ("float32", "bfloat16", "int8", "int4")

"""Elements that share one scale; the other codecs have none. A charter with int4 should name a block this small."""

BAR_PERCENT = {"int8": 0.3, "int4": 1.0}
"""How far from float32 the final held-out loss may be, with error feedback."""


Point = tuple[int, float]
"""A round, 0 before the first, and the Shared Base's held-out bits per byte after it."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """One small training, the same for every way of sending."""

    languages: tuple[str, ...] = ("de", "fr", "id", "vi")
    """One peer each, which trains on this language only; the held-out text has all of them."""
    hidden_size: int = 64
    layers: int = 2
    heads: int = 4
    intermediate_size: int = 176
    initializer_range: float = 0.1
    """Standard deviation of the initial weights, about 1 / sqrt(hidden_size). With the library's 0.02, made for wide
    models, training waits on a plateau for as long as the smallest differences have it, and float32 and int8 ended up
    to 7 per cent apart, now one ahead, now the other."""
    inner_steps: int = 4
    batch_size: int = 8
    sequence_length: int = 64
    """Bytes."""
    inner_lr: float = 3e-3
    inner_weight_decay: float = 0.1
    warm_up_share: float = 0.05
    """Of the rounds: the inner learning rate rises over these, then falls to zero as half a cosine."""
    outer: Nesterov = Nesterov(lr=1.0, momentum=0.5)
    chunk_elements: int = 4096
    held_out_every_paragraphs: int = 20
    """One paragraph in so many is never trained on."""
    held_out_bytes: int = 16_384
    """Per language; the same bytes at every point of every curve."""
    score_every_rounds: int = 10

    @property
    def model_config_json(self) -> str:
        """A byte-level Llama of the pilot's kind, smaller."""
        config = {
            "model_type": "llama",
            "vocab_size": 256,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "initializer_range": self.initializer_range,
            "max_position_embeddings": self.sequence_length,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": None,
        }
        return json.dumps(config)

    def inner_lr_at(self, round_number: int, rounds: int) -> float:
        """The inner learning rate of a round; rounds count from 1 to `rounds`."""
        rising = max(1, round(rounds * self.warm_up_share))
        if round_number <= rising:
            return self.inner_lr * round_number / rising
        fallen = (round_number - rising) / (rounds - rising + 1)
        return self.inner_lr * (1 + math.cos(math.pi * fallen)) / 2


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One way of sending updates, or a check on the measurement."""

    name: str
    codec: CodecName
    block_elements: int = 1
    """Elements that share one scale; float32 and bfloat16 have none, and ignore it."""
    has_feedback: bool = True
    """Whether what quantising took away is added to the next round's update."""
    is_nudged: bool = False
    """Whether every element of one peer's first update is moved to the next float32. Training amplifies it: the
    difference at the end is what differences between runs are worth."""


REFERENCE = "float32"
NUDGED = "float32, one ulp"


def variants(codecs: Iterable[CodecName]) -> tuple[Variant, ...]:
    """float32 and its nudged twin, then the codecs, each coarse one with and without feedback."""
    chosen = [Variant(name=REFERENCE, codec="float32"), Variant(name=NUDGED, codec="float32", is_nudged=True)]
    for codec in dict.fromkeys(codecs):
        if codec == "float32":
            continue
        with_feedback = Variant(name=codec, codec=codec, block_elements=BLOCK_ELEMENTS.get(codec, 1))
        chosen.append(with_feedback)
        if codec in BAR_PERCENT:
            chosen.append(msgspec.structs.replace(with_feedback, name=f"{codec}, no feedback", has_feedback=False))
    return tuple(chosen)
