"""The state that `charter new` makes is the one that every peer computes from the charter."""

import json

import numpy as np
import pytest

from peers.model import initial_state
from swarm.charter.manifest import AdamW, Nesterov, Outer, Reduce
from swarm.state.run import outer_rule
from swarm.vector.digest import state_digest
from swarm.vector.grid import Grid

CONFIG = json.dumps(
    {
        "model_type": "llama",
        "vocab_size": 256,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    }
)


@pytest.mark.parametrize(
    "outer",
    [Nesterov(lr=0.7, momentum=0.9), Nesterov(lr=1.0, momentum=0.0), AdamW()],
    ids=["momentum", "plain", "adamw"],
)
def test_its_digest_is_over_the_vectors_that_the_outer_rule_has(outer: Outer) -> None:
    reduce = Reduce(chunk_elements=1024)
    made = initial_state(CONFIG, 0, outer, reduce)
    zeros = tuple(np.zeros_like(made.base) for _ in range(outer_rule(outer).vectors))
    assert state_digest(Grid(made.base.size, 1024), made.base, zeros).hex() == made.state_digest
