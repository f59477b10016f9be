"""The optimizer a training loop steps: inner steps as ever, and every H of them one round with the swarm.

`diloco`    the inner optimizer steps; after H steps the update is base - weights (the pseudo-gradient)
`gradient`  gradients are accumulated; after H calls the update is their mean, and the outer rule is the optimizer

Both then wait for the new Shared Base and go on from it. Only floating-point parameters are shared; buffers are not.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from swarm.charter.manifest import Training
from swarm.clock import process_s
from swarm.node.link import Abandon, Base, Begin, Progress, Stop, TrainerEnd, TrainerHello, UpdateMade, Yielded
from swarm.node.shared import SharedVectors
from swarm.vector.flatten import gather, named_parameters, scatter, schema, schema_digest

_REPORT_EVERY_S = 0.5


class SwarmOptimizer(torch.optim.Optimizer):
    """Wraps an inner optimizer; works with `torch.optim.lr_scheduler`, `GradScaler` and HF `Trainer`."""

    def __init__(
        self,
        model: nn.Module,
        inner: torch.optim.Optimizer,
        end: TrainerEnd,
        shared: SharedVectors,
        training: Training,
        isolation: tuple[str, str] = ("none", "the training script is the user's own process"),
    ) -> None:
        """Shakes hands with the node and loads the Shared Base into `model`: blocks until it is there.

        Raises:
            NetworkError: the node process has ended.
        """
        super().__init__(inner.param_groups, inner.defaults)
        # The very groups and state of the inner optimizer, so that a scheduler's changes reach it.
        self.inner = inner
        self.param_groups = inner.param_groups
        self.state = inner.state
        self._named = named_parameters(model)
        self._end = end
        self._shared = shared
        self._training = training
        self._gradient_N = np.zeros_like(shared.update_N) if training.mode == "gradient" else None
        self._round = 0
        self._steps = 0
        self._tokens = 0
        self._loss: float | None = None
        self._began_s = self._reported_s = process_s()
        self.is_finished = False
        """True once the node has stopped: the model then holds the final Shared Base."""
        self.final_round = 0
        end.send(TrainerHello(schema_digest(schema(self._named.items())), *isolation))
        self._await_base()

    @property
    def round(self) -> int:
        """The round being trained for."""
        return self._round

    def report(self, *, tokens: int, loss: float) -> None:
        """Counts the tokens of the coming step and shows its loss; without it every step counts as one token."""
        self._tokens += tokens
        self._loss = loss if math.isfinite(loss) else None

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One inner step, and a round with the swarm after every H of them; once `is_finished`, inner steps only.

        Raises:
            NetworkError: the node process has ended.
        """
        if self.is_finished:
            return self.inner.step(closure)
        if self._gradient_N is None:
            loss = self.inner.step(closure)
        else:
            with torch.enable_grad():
                loss = None if closure is None else closure()
            self._accumulate(self._gradient_N)
        self._steps += 1
        self._show_progress()
        match self._end.poll():
            case Abandon():
                self._end.send(Yielded(self._round))
                self._await_base()
            case Stop() as stop:
                self._finish(stop)
            case _ if self._steps >= self._training.inner_steps:
                self._synchronise()
            case _:
                pass
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.inner.load_state_dict(state_dict)
        self.param_groups, self.state = self.inner.param_groups, self.inner.state

    def _accumulate(self, gradient_N: np.ndarray) -> None:
        gradients = {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for name, parameter in self._named.items()
        }
        now_N = np.empty_like(gradient_N)
        gather(gradients, now_N)
        gradient_N += now_N

    def _synchronise(self) -> None:
        """Gives the update and waits for the next base."""
        update_N, base_N = self._shared.update_N, self._shared.base_N
        if self._gradient_N is None:
            gather(self._named, update_N)
            np.subtract(base_N, update_N, out=update_N)
        else:
            np.divide(self._gradient_N, np.float32(self._steps), out=update_N)
        tokens = self._tokens or self._steps
        self._end.send(UpdateMade(self._round, tokens, self._loss, self._steps))
        self._await_base()

    def _await_base(self) -> None:
        while True:
            match self._end.receive():
                case Base(round_number):
                    self._begin(round_number)
                    return
                case Stop() as stop:
                    self._finish(stop)
                    return
                case Abandon() | Begin():
                    continue  # an Abandon that crossed our update on its way; a base follows

    def _begin(self, round_number: int) -> None:
        scatter(self._shared.base_N, self._named)
        self._round = round_number
        self._steps = self._tokens = 0
        self._began_s = process_s()
        if self._gradient_N is not None:
            self._gradient_N[:] = 0

    def _finish(self, stop: Stop) -> None:
        scatter(self._shared.base_N, self._named)
        self.is_finished = True
        self.final_round = stop.round

    def _show_progress(self) -> None:
        now_s = process_s()
        if now_s - self._reported_s >= _REPORT_EVERY_S:
            self._reported_s = now_s
            per_s = self._tokens / max(now_s - self._began_s, 1e-6)
            self._end.send(Progress(self._round, self._steps, self._loss, self._tokens, per_s))
