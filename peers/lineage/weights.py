"""A model folder's weights as the flat vector of a run, to be compared with a base bit for bit; and a base as a folder.

A run whose charter names a `transformers` config has folders that `transformers` loads; in library use a base is one
safetensors file with one tensor. Safetensors only.
"""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from peers.ecosystem.tokenizer import put_tokenizer, tokenizer_of
from swarm.errors import LineageError
from swarm.state.disk import replace_file
from swarm.state.run import Run
from swarm.state.tensors import safetensors_parts

BASE_NAME = "base.safetensors"


def flat_weights(folder: Path, elements: int) -> np.ndarray | None:
    """All floating-point tensors in the order of their names, float32 [N]; None if they are not N elements.

    Raises:
        LineageError: a file is not safetensors.
    """
    import torch
    from safetensors.torch import load_file

    from swarm.vector.flatten import gather

    named: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            named.update(load_file(path))
        except (SafetensorError, OSError) as error:
            raise LineageError(f"{path} is not a safetensors file: {error}") from None
    floating = {name: tensor for name, tensor in named.items() if tensor.is_floating_point()}
    if sum(tensor.numel() for tensor in floating.values()) != elements:
        return None
    vector_N = np.empty(elements, np.float32)
    gather(floating, vector_N)
    return vector_N


def is_base(folder: Path, base_N: np.ndarray) -> bool:
    """Whether a folder's weights are exactly this base. Raises LineageError as `flat_weights`."""
    weights_N = flat_weights(folder, base_N.size)
    return weights_N is not None and np.array_equal(weights_N.view(np.uint32), base_N.view(np.uint32))


def write_model(run: Run, base_N: np.ndarray, state: Path, folder: Path) -> None:
    """Writes a base as a model folder, which does not exist yet, with the tokenizer if the charter names one.

    Args:
        base_N: float32 [N].
        state: the state folder, which holds that tokenizer.

    Raises:
        ModelError: it does not; nothing is written then.
        StateError, OSError: the disk refuses.
    """
    model = run.charter.model
    tokenizer = tokenizer_of(state, model.tokenizer_digest) if model.tokenizer_digest else None
    folder.mkdir()
    if model.config_json:
        _save(model.config_json, base_N, folder)
    else:
        replace_file(folder / BASE_NAME, safetensors_parts({"base": base_N}))
    if tokenizer is not None:
        put_tokenizer(tokenizer, folder)


def _save(config_json: str, base_N: np.ndarray, folder: Path) -> None:
    """As `transformers` loads it."""
    from transformers.utils import logging as transformers_logging

    from peers.model import build, load_vector

    transformers_logging.disable_progress_bar()
    model = build(config_json)
    load_vector(model, base_N)
    model.save_pretrained(folder)
