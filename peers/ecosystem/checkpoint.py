"""A folder of open weights, as `transformers` writes it, that a run begins from: checked, digested, made into state 0.

    config.json            any causal LM that AutoModelForCausalLM knows without code of its own
    *.safetensors          whole or in shards with their index; pickle files are refused, wherever they came from
    tokenizer.json ...     what its tokens are; without one the tokens are bytes, and the vocabulary has to be 256

Nothing is fetched, and no code from the folder is run.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from peers.build.weights import files_digest, refuse_pickles
from peers.ecosystem.tokenizer import TOKENIZER_NAME, tokenizer_digest_of, tokenizer_files
from peers.ecosystem.tokens import read_tokenizer
from peers.model import BYTE_VALUES, State0, state_of
from swarm.charter.manifest import Outer, Reduce
from swarm.charter.rules import MAX_CONFIG_BYTES
from swarm.errors import ModelError, UsageError

CONFIG_NAME = "config.json"
_INDEX_NAME = "model.safetensors.index.json"
_OF_ITS_PLACE = ("_name_or_path", "transformers_version", "auto_map")
"""Keys of a config that say nothing about the model, or name code to run."""


@dataclass(frozen=True)
class Checkpoint:
    """What a charter says of an adopted checkpoint, with its state 0."""

    config_json: str
    digest: str
    """Hex BLAKE3 over names and contents of config, weights and tokenizer."""
    tokenizer_digest: str
    """The same over the tokenizer alone; empty where tokens are bytes."""
    state: State0


def adopt(folder: Path, outer: Outer, reduce: Reduce) -> Checkpoint:
    """Reads a checkpoint folder.

    Raises:
        UsageError: there is no such folder.
        ModelError: pickle files, a config or weights that `transformers` cannot take, or a tokenizer for other weights.
    """
    if not folder.is_dir():
        raise UsageError(f"checkpoint {folder} does not exist")
    refuse_pickles(folder)
    fields = _read_config(folder)
    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    if not weights:
        raise ModelError(f"{folder} holds no safetensors file")
    tokenizer_digest = _check_tokenizer(folder, fields)
    model = _load(folder)
    embedded = int(model.get_input_embeddings().weight.shape[0])
    if tokenizer_digest and (count := read_tokenizer(folder).size) > embedded:
        raise ModelError(f"{folder}: its tokenizer has {count} tokens, its model {embedded}")
    names = [CONFIG_NAME, *weights, *tokenizer_files(folder)]
    if (folder / _INDEX_NAME).is_file():
        names.append(_INDEX_NAME)
    return Checkpoint(
        json.dumps(fields, separators=(",", ":")),
        files_digest(folder / name for name in sorted(names)),
        tokenizer_digest,
        state_of(model, outer, reduce),
    )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_NAME
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        fields: object = msgspec.json.decode(data)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ModelError(f"{path} is not JSON, or longer than {MAX_CONFIG_BYTES} bytes") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("model_type"), str):  # pyright: ignore[reportUnknownMemberType]
        raise ModelError(f"{path} names no model_type")
    known = cast("dict[str, Any]", fields)
    if "quantization_config" in known:
        raise ModelError(f"{folder} holds quantised weights, which cannot be trained: adopt those they were made from")
    return {name: value for name, value in known.items() if name not in _OF_ITS_PLACE}


def _check_tokenizer(folder: Path, fields: dict[str, Any]) -> str:
    digest = tokenizer_digest_of(folder)
    if digest and not (folder / TOKENIZER_NAME).is_file():
        raise ModelError(
            f"{folder} has a tokenizer but no {TOKENIZER_NAME}: load it once with transformers' AutoTokenizer and "
            "save it here with save_pretrained"
        )
    if not digest and fields.get("vocab_size") != BYTE_VALUES:
        raise ModelError(
            f"{folder} has no {TOKENIZER_NAME}, and its vocabulary of {fields.get('vocab_size')} is not that of bytes "
            f"({BYTE_VALUES}): put its tokenizer beside the weights"
        )
    return digest


def _load(folder: Path) -> Any:
    """The model with exactly these weights, in float32."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"transformers cannot load {folder}: {cause}") from None
    model, told = loaded
    missing = sorted((*told["missing_keys"], *(str(each) for each in told["mismatched_keys"])))
    if missing:
        raise ModelError(
            f"{folder} is not whole: {len(missing)} weights are missing or of another shape ({missing[0]})"
        )
    if not np.isfinite([float(tensor.detach().abs().max()) for tensor in model.parameters()]).all():
        raise ModelError(f"the weights in {folder} hold a NaN or an infinity")
    return model
