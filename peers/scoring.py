"""Held-out scoring: bits per byte, one metric for every model and language."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from peers.device import is_out_of_memory, release_memory

_WINDOWS_PER_BATCH = 16
MAX_SCORED_BYTES = 65_536
"""Of held-out text, when a new base is scored in every round: enough for a figure, and no long wait for the others."""


def bits_per_byte(model: nn.Module, text: bytes, window: int, limit_bytes: int) -> float:
    """How many bits the model needs per byte of `text`; lower is better, 8 is what knowing nothing costs.

    The first `limit_bytes` of the text are cut into consecutive windows of `window` bytes that do not
    overlap; the last may be shorter. In each window the first byte is context only and every later byte is
    predicted from those before it in the same window. The result is the sum of -ln p(byte) over all predicted
    bytes, divided by ln 2 and by their number. Probabilities are the softmax over the model's whole
    vocabulary, in float32, summed in float64.

    Args:
        model: a causal LM; called as `model(input_ids=...)` with int64 [B, L], answers with `.logits` [B, L,
            V], V >= 256. Runs in evaluation mode, without gradients, on its own device; its mode is restored.

    Raises:
        ValueError: no byte would be predicted.
    """
    if window < 2:
        raise ValueError(f"a window of {window} bytes predicts nothing; it needs at least 2")
    data = torch.tensor(list(text[:limit_bytes]), dtype=torch.uint8)
    if len(data) < 2:
        raise ValueError("the text is too short: at least 2 bytes are needed to predict one")
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    was_training = model.training
    model.eval()
    nats = 0.0
    predicted = 0
    try:
        with torch.no_grad():
            for ids_BL in _batches(data, window):
                ids_BL = ids_BL.to(device=device, dtype=torch.int64)
                nats += _nats_in_memory(model, ids_BL)
                predicted += ids_BL[:, 1:].numel()
    finally:
        model.train(was_training)
    return nats / math.log(2) / predicted


def _batches(data: Tensor, window: int) -> Iterator[Tensor]:
    """Whole windows as [B, L], a few at a time, then the rest as [1, L'] if a byte of it can be predicted."""
    whole = len(data) // window * window
    yield from data[:whole].view(-1, window).split(_WINDOWS_PER_BATCH)
    if len(data) - whole >= 2:
        yield data[whole:].view(1, -1)


def _nats_in_memory(model: nn.Module, ids_BL: Tensor) -> float:
    """Sum of -ln p over the predicted bytes; half of the windows at a time where all of them do not fit into memory."""
    try:
        return _nats(model(input_ids=ids_BL).logits, ids_BL)
    except (RuntimeError, MemoryError) as error:
        if len(ids_BL) == 1 or not is_out_of_memory(error):
            raise
    # Outside of the handler: the traceback holds on to the tensors of the failed attempt.
    release_memory()
    return sum(_nats_in_memory(model, half_bL) for half_bL in ids_BL.tensor_split(2))


def _nats(logits_BLV: Tensor, ids_BL: Tensor) -> float:
    """Sum of -ln p over the predicted bytes."""
    losses = functional.cross_entropy(
        logits_BLV[:, :-1].float().flatten(0, 1), ids_BL[:, 1:].flatten(), reduction="none"
    )
    return float(losses.double().sum())
