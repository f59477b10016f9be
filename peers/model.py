"""Models from a charter: any causal LM that `transformers` can build, and the flat vectors that stand for them.

Weights are read and written as safetensors only. The flat vector holds the floating-point parameters in order of their
names (swarm.vector.flatten), which is also how a member's own checkpoint is adopted.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from swarm.charter.manifest import Outer, Reduce
from swarm.errors import ModelError, UsageError
from swarm.state.run import outer_rule
from swarm.vector.digest import state_digest
from swarm.vector.flatten import elements, gather, named_parameters, scatter, schema, schema_digest
from swarm.vector.grid import Grid

BYTE_VALUES = 256


@dataclass(frozen=True)
class State0:
    """What a charter says about its model, with the base itself."""

    base: np.ndarray
    """Float32 [N]."""
    parameters: int
    schema_digest: str
    state_digest: str


def build(config_json: str, seed: int = 0) -> PreTrainedModel:
    """A causal LM with fresh weights from a `transformers` config.

    Raises:
        ModelError: transformers refuses the config.
    """
    transformers_logging.set_verbosity_error()
    try:
        fields = json.loads(config_json)
        model_type = fields.pop("model_type")
    except (json.JSONDecodeError, KeyError, AttributeError, TypeError):
        raise ModelError("the model config must be a JSON object with a model_type, such as llama") from None
    torch.manual_seed(seed)
    try:
        config = AutoConfig.for_model(model_type, **fields)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except Exception as error:  # noqa: BLE001
        # transformers has no base class for its refusals: KeyError, TypeError, ValueError, its own and torch's
        raise ModelError(f"transformers refuses the model config: {_first_line(error)}") from None
    if model.get_input_embeddings().weight.shape[0] < BYTE_VALUES:
        raise ModelError(f"the built-in trainer's tokens are bytes: give the config vocab_size {BYTE_VALUES} or more")
    return model


def initial_state(config_json: str, seed: int, outer: Outer, reduce: Reduce) -> State0:
    """State 0 of a new run: seeded fresh weights. Raises ModelError."""
    return state_of(build(config_json, seed), outer, reduce)


def state_of(model: PreTrainedModel, outer: Outer, reduce: Reduce) -> State0:
    """State 0 from a model as it is. Raises ModelError."""
    return _state0(named_parameters(model), outer, reduce)


def adopted_state(path: Path, outer: Outer, reduce: Reduce) -> State0:
    """State 0 from a safetensors checkpoint that members bring themselves.

    Raises:
        UsageError: nothing lies at `path`.
        ModelError: not a safetensors file, or without floating-point tensors.
    """
    if not path.is_file():
        raise UsageError(f"checkpoint {path} does not exist")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a safetensors file: {_first_line(error)}") from None
    named = {name: tensor for name, tensor in sorted(tensors.items()) if tensor.is_floating_point()}
    if not named:
        raise ModelError(f"{path} holds no floating-point tensor")
    return _state0(named, outer, reduce)


def write_state0(path: Path, base_N: np.ndarray) -> None:
    """Writes the base of state 0, as safetensors with one tensor named "base"; readable for all, like the charter."""
    save_file({"base": torch.from_numpy(base_N)}, path)
    path.chmod(0o644)


def load_vector(model: PreTrainedModel, vector_N: np.ndarray) -> None:
    """Puts a flat base into a model. ValueError if it is another model's."""
    scatter(vector_N, named_parameters(model))


def _state0(named: dict[str, torch.Tensor], outer: Outer, reduce: Reduce) -> State0:
    shapes = schema(named.items())
    base_N = np.empty(elements(shapes), np.float32)
    gather(named, base_N)
    if not np.isfinite(base_N).all():
        raise ModelError("the initial weights hold a NaN or an infinity")
    zeros = tuple(np.zeros_like(base_N) for _ in range(outer_rule(outer).vectors))
    digest = state_digest(Grid(base_N.size, reduce.chunk_elements), base_N, zeros)
    return State0(base_N, base_N.size, schema_digest(shapes), digest.hex())


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
