"""The optimizer a training loop steps: inner steps as ever, and a round with the swarm whenever one is due.

`diloco`    the inner optimizer steps; the update is base - weights (the pseudo-gradient)
`gradient`  gradients are accumulated; the update is their mean, and the outer rule is the optimizer

A round is due when the time is over in which the swarm meets the charter's token target, however many steps this
machine makes in it, or without such a target after H steps. Both modes then wait for the new Shared Base and go on from
it. Only floating-point parameters are shared; buffers are not.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from swarm.charter.manifest import Training
from swarm.clock import process_s
from swarm.node.link import TrainerEnd
from swarm.node.messages import (
    Abandon,
    Base,
    Begin,
    Finish,
    GoOn,
    Progress,
    Score,
    Scored,
    Stop,
    TrainBeside,
    TrainerHello,
    UpdateMade,
    Yielded,
)
from swarm.node.round_length import another_fits
from swarm.node.shared import SharedVectors
from swarm.sovereignty.privacy import Receipt
from swarm.vector.flatten import gather, named_parameters, scatter, schema, schema_digest

_REPORT_EVERY_S = 0.5
_LATEST = 0.3
"""How much the latest step counts in the pace that the next one is expected to keep."""


class SwarmOptimizer(torch.optim.Optimizer):
    """Wraps an inner optimizer; works with `torch.optim.lr_scheduler`, `GradScaler` and HF `Trainer`."""

    def __init__(
        self,
        model: nn.Module,
        inner: torch.optim.Optimizer,
        end: TrainerEnd,
        shared: SharedVectors,
        training: Training,
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
        self._model = model
        self._named = named_parameters(model)
        self._end = end
        self._shared = shared
        self._training = training
        self._gradient_N = np.zeros_like(shared.update_N) if training.mode == "gradient" else None
        self._started_N: np.ndarray | None = None
        """The weights that steps beside an update began from; None while they are made from the base."""
        self._round = 0
        self._steps = 0
        self._tokens = 0
        self._loss: float | None = None
        self._began_s = self._reported_s = self._stepped_s = process_s()
        self._seconds: float | None = None
        self._due_steps: float = training.inner_steps
        self._counted = 0
        self._full_step_tokens = 0
        self._token_s: float | None = None
        """Seconds per token, lately."""
        self.least_tokens: int | None = None
        """Tokens of the smallest step the loop can make, if it fits its last one into `tokens_left`."""
        self.receipt: Callable[[int], Receipt] | None = None
        """Makes the receipt that goes with an update of so many steps, for a loop under differential privacy."""
        self.score_with: Callable[[nn.Module], float] | None = None
        """The model's loss on held-out data, for runs in which members vote on every new base; None to say nothing."""
        self.is_finished = False
        """True once the node has stopped: the model then holds the final Shared Base."""
        self.final_round = 0
        end.send(TrainerHello(schema_digest(schema(self._named.items()))))
        self._await_base()

    @property
    def round(self) -> int:
        """The round being trained for."""
        return self._round

    @property
    def tokens_left(self) -> int | None:
        """Tokens that fit into the rest of this round at the latest pace; None if nothing limits the next step."""
        if self._seconds is None or not self._token_s:
            return None
        return max(0, int((self._seconds - (process_s() - self._began_s)) / self._token_s))

    def report(self, *, tokens: int, loss: float) -> None:
        """Counts the tokens of the coming step and shows its loss; without it every step counts as one token."""
        self._tokens += tokens
        self._loss = loss if math.isfinite(loss) else None

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One inner step, and a round with the swarm if one is due after it; once `is_finished`, inner steps only.

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
        self._count_step()
        self._show_progress()
        match self._end.poll():
            case Abandon():
                self._end.send(Yielded(self._round))
                self._await_base()
            case Stop() as stop:
                self._finish(stop)
            case Finish():
                self._synchronise()
            case Score(number):
                self._end.send(self._scored(number))
            case _ if self._is_due():
                self._synchronise()
            case _:
                pass
        return loss

    def sit_out(self) -> None:
        """Makes no more steps in this round: hands over what there is about when the others will, and follows.

        Raises:
            NetworkError: the node process has ended.
        """
        usual_s = self._due_steps * self._full_step_tokens * (self._token_s or 0.0)
        planned_s = usual_s if self._seconds is None else self._seconds
        is_beside = math.isinf(self._due_steps)
        match self._end.wait(None if is_beside else max(0.0, planned_s - (process_s() - self._began_s))):
            case Abandon():
                self._end.send(Yielded(self._round))
                self._await_base()
            case Stop() as stop:
                self._finish(stop)
            case Score(number):
                self._end.send(self._scored(number))
            case _:
                self._synchronise()

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.inner.load_state_dict(state_dict)
        self.param_groups, self.state = self.inner.param_groups, self.inner.state

    def _count_step(self) -> None:
        """Keeps the pace; a step without `report` counts as one token."""
        self._steps += 1
        if self._tokens == self._counted:
            self._tokens += 1
        tokens, self._counted = self._tokens - self._counted, self._tokens
        self._full_step_tokens = max(self._full_step_tokens, tokens)
        now_s = process_s()
        token_s, self._stepped_s = (now_s - self._stepped_s) / tokens, now_s
        before_s = token_s if self._token_s is None else self._token_s
        self._token_s = (1 - _LATEST) * before_s + _LATEST * token_s

    def _is_due(self) -> bool:
        if self._seconds is None:
            return self._steps >= self._due_steps
        elapsed_s = process_s() - self._began_s
        return not another_fits(elapsed_s=elapsed_s, step_s=self._shortest_step_s, planned_s=self._seconds)

    @property
    def _shortest_step_s(self) -> float:
        return (self.least_tokens or self._full_step_tokens) * (self._token_s or 0.0)

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
            np.subtract(base_N if self._started_N is None else self._started_N, update_N, out=update_N)
        else:
            np.divide(self._gradient_N, np.float32(self._steps), out=update_N)
        per_s = self._tokens / max(process_s() - self._began_s, 1e-6)
        self._end.send(
            UpdateMade(
                self._round,
                self._tokens,
                self._loss,
                self._steps,
                per_s,
                step_s=self._shortest_step_s,
                receipt=None if self.receipt is None else self.receipt(self._steps),
            )
        )
        self._await_base()

    def _await_base(self) -> None:
        while True:
            match self._end.receive():
                case Base(round_number, seconds):
                    self._begin(round_number, seconds)
                    return
                case GoOn():
                    self._seconds = None
                    self._due_steps = self._steps + self._training.inner_steps
                    return
                case TrainBeside():
                    self._begin_beside()
                    return
                case Stop() as stop:
                    self._finish(stop)
                    return
                case Score(number):
                    self._end.send(self._scored(number))
                case Abandon() | Finish() | Begin():
                    continue  # one that crossed our update on its way; a base follows

    def _scored(self, number: int) -> Scored:
        """The loss of what lies in `base_N`; the weights are then what they were."""
        if self.score_with is None:
            return Scored(number, None)
        # Kept on the CPU: an accelerator may have no room for the model twice.
        local = [parameter.detach().to("cpu", copy=True) for parameter in self._named.values()]
        scatter(self._shared.base_N, self._named)
        try:
            loss = float(self.score_with(self._model))
        finally:
            with torch.no_grad():
                for parameter, before in zip(self._named.values(), local, strict=True):
                    parameter.copy_(before)
        is_finite = math.isfinite(loss)
        return Scored(number, loss if is_finite else None, has_diverged=not is_finite)

    def _begin(self, round_number: int, seconds: float | None) -> None:
        scatter(self._shared.base_N, self._named)
        self._started_N = None
        self._round = round_number
        self._start_counting(seconds, self._training.inner_steps)

    def _begin_beside(self) -> None:
        """An update of its own, of steps from the weights as they are until the node wants it."""
        if self._gradient_N is None:
            self._started_N = np.empty_like(self._shared.base_N)
            gather(self._named, self._started_N)
        self._start_counting(None, math.inf)

    def _start_counting(self, seconds: float | None, due_steps: float) -> None:
        self._began_s = self._stepped_s = process_s()
        self._seconds = seconds
        self._due_steps = due_steps
        self._steps = self._tokens = self._counted = 0
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
