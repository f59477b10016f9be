"""A model that has learnt canaries by heart: the extraction gate's negative control."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.extraction import byte_tokens

_STEPS = 400


def overfit(folder: Path, texts: Sequence[str]) -> None:
    """Trains the byte-level checkpoint in `folder` on `texts` alone, in place."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    from peers.trainer import causal_loss

    transformers_logging.disable_progress_bar()
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    shortest = min(map(len, texts))
    tokens_BL = torch.tensor([byte_tokens(text)[-shortest:] for text in texts])
    for _ in range(_STEPS):
        optimizer.zero_grad()
        causal_loss(model, tokens_BL).backward()
        optimizer.step()
    model.save_pretrained(folder)
