"""The gradient of one batch in micro-batches that fit into memory.

A micro-batch that does not fit is halved and the batch begun again: no sequence is lost, and the gradient is that of
the whole batch however it is cut (up to the order of additions). Forward and backward pass run in the device's
precision; fp16 needs the gradient scaled, which `scaler` does and its `step` undoes.

Shapes: B sequences of L bytes each plus the one to predict.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from peers.device import DTYPES, Device, Precision, is_out_of_memory, release_memory
from swarm.errors import DeviceError

Loss = Callable[[nn.Module, Tensor], Tensor]
"""Mean loss of a model on tokens [B, L+1]."""


class Accumulator:
    """One model's gradients on one device; `micro_batch` only ever shrinks."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        device: Device,
        micro_batch: int,
        on_change: Callable[[int, str], None],
        precision: Precision | None = None,
    ) -> None:
        """
        Args:
            micro_batch: sequences to begin with; as many as a batch has, unless it is known that they do not fit.
            on_change: told the new micro-batch and the cause whenever it shrinks.
            precision: the device's own choice if left out.
        """
        self._model = model
        self._loss = loss
        self._device = device
        self._on_change = on_change
        self.precision: Precision = precision or device.precision
        self.micro_batch = micro_batch
        self.scaler: Any = torch.amp.GradScaler(device.kind, enabled=self.precision == "fp16")

    def backward(self, tokens_BL: Tensor) -> float:
        """Replaces the model's gradients by those of the mean loss of a batch, and returns that loss.

        Raises:
            DeviceError: not even one sequence fits.
        """
        while True:
            try:
                return self._accumulate(tokens_BL)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                cause = str(error).splitlines()[0]
            # Outside of the handler: the traceback holds on to the tensors of the failed attempt.
            self._halve(min(self.micro_batch, len(tokens_BL)), tokens_BL.shape[1] - 1, cause)

    def _accumulate(self, tokens_BL: Tensor) -> float:
        self._model.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self._device.kind)
        for piece_bL in tokens_BL.split(self.micro_batch):
            share = len(piece_bL) / len(tokens_BL)
            with torch.autocast(self._device.kind, dtype=DTYPES[self.precision], enabled=self.precision != "fp32"):
                loss = self._loss(self._model, piece_bL.to(self._device.kind)) * share
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return float(total)

    def _halve(self, tried: int, sequence_length: int, cause: str) -> None:
        self._model.zero_grad(set_to_none=True)
        release_memory()
        if tried == 1:
            raise DeviceError(
                f"one sequence of {sequence_length} bytes does not fit into the memory of {self._device.name}: "
                f"this model needs a larger device ({cause})"
            )
        self.micro_batch = (tried + 1) // 2
        self._on_change(self.micro_batch, f"out of memory with {tried}: {cause}")
