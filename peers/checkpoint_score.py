"""A scorer of texts (peers.extraction) from a checkpoint folder on disk. Safetensors only; nothing is fetched."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.extraction import Score, byte_tokens, causal_score
from swarm.errors import ModelError

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def score_of(folder: Path) -> Score:
    """Loads the model, with its tokenizer where one lies beside it; its tokens are bytes otherwise.

    Raises:
        ModelError: `transformers` cannot load it from safetensors.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        if not any((folder / name).exists() for name in _TOKENIZER_FILES):
            return causal_score(model, byte_tokens)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"{folder} cannot be loaded: {next(iter(str(error).splitlines()), 'no cause given')}"
        ) from None

    def encode(text: str) -> Sequence[int]:
        return tokenizer(text)["input_ids"]

    return causal_score(model, encode)
