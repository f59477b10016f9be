"""The gradient of one batch in micro-batches that fit into memory.

A micro-batch that does not fit is halved and the batch begun again: no sequence is lost, and the gradient is that of
the whole batch however it is cut (up to the order of additions). The same is done if memory runs out in the optimiser's
step before it has changed anything: smaller passes leave more room for its states. Forward and backward pass run in the
device's precision; fp16 needs the gradient scaled, which `scaler` does and its `step` undoes.

Shapes: B sequences of L bytes each plus the one to predict.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from peers.device import DTYPES, Device, Precision, is_out_of_memory, no_memory_for, release_memory
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
        self.scaler: Any = self._fresh_scaler()

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

    def step(self, optimizer: torch.optim.Optimizer, tokens_BL: Tensor) -> None:
        """Steps with the gradients that `backward` left of this batch.

        Raises:
            DeviceError: the step does not fit, though one sequence does; or memory ran out in the middle of it.
        """
        while True:
            before = _Untouched(optimizer)
            try:
                self.scaler.step(optimizer)
                self.scaler.update()
                return
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                cause = str(error).splitlines()[0]
                failure = no_memory_for("the optimiser's step", self._device, error)
            tried = min(self.micro_batch, len(tokens_BL))
            if tried == 1 or not before.still():
                raise failure
            self.scaler = self._fresh_scaler(self.scaler.state_dict())  # this one takes the gradients for unscaled
            self._halve(tried, tokens_BL.shape[1] - 1, f"in the optimiser's step: {cause}")
            self.backward(tokens_BL)

    def _fresh_scaler(self, state: dict[str, Any] | None = None) -> Any:
        scaler = torch.amp.GradScaler(self._device.kind, enabled=self.precision == "fp16")
        if state is not None:
            scaler.load_state_dict(state)
        return scaler

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


class _Untouched:
    """What an optimiser's parameters and states are before a step that may fail."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._states = {parameter: dict(held) for parameter, held in optimizer.state.items() if held}
        self._versions = self._versions_now()

    def still(self) -> bool:
        """Whether the failed step changed nothing that was there; states that it had begun to make are then dropped."""
        if self._versions_now() != self._versions:
            return False
        for parameter in [parameter for parameter in self._optimizer.state if parameter not in self._states]:
            del self._optimizer.state[parameter]
        return True

    def _versions_now(self) -> list[Any]:
        """Torch counts the writes to each tensor."""
        parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        held = [value for parameter in self._states for value in self._optimizer.state[parameter].values()]
        return [each._version if isinstance(each, Tensor) else each for each in [*parameters, *held]]
