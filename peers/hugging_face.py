"""A callback with which a Hugging Face `Trainer` takes part in a run; run the script under `tapestry peer --trainer`.

    from peers.hugging_face import TapestryCallback

    Trainer(model=model, args=arguments, train_dataset=dataset, callbacks=[TapestryCallback()]).train()

The Trainer's own optimizer makes the inner steps. After each the callback counts its tokens, and when a round is due it
hands the weights over and waits for the new Shared Base, from which training goes on. When the peer is done it stops
the Trainer, whose model then holds the Shared Base. Averages weights (`diloco`) only: in `gradient` mode nobody may
step alone, so give the Trainer `optimizers=(run.wrap(model, optimizer), None)` there.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

import swarm
from swarm.errors import UsageError

if TYPE_CHECKING:
    from swarm.node.optimizer import SwarmOptimizer


class TapestryCallback(TrainerCallback):
    """Takes a Trainer's model through the rounds of a run."""

    def __init__(self, run: "swarm.Swarm | None" = None) -> None:
        """
        Args:
            run: this script's place in a run; `swarm.join()` if left out, which under `tapestry peer --trainer` takes
                the place that the peer has kept. It is left when training ends.
        """
        self._run = run
        self._rounds: SwarmOptimizer | None = None
        self._tokens_seen = 0
        self._loss = float("nan")

    @property
    def final_round(self) -> int:
        """Rounds that the Shared Base in the model has been through, once training has ended."""
        return 0 if self._rounds is None else self._rounds.final_round

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Joins, and puts the Shared Base into the model.

        Raises:
            UsageError: the run averages gradients, or the Trainer has more than one process.
            NetworkError: the node process has ended, for example because this model is not the charter's.
        """
        if args.world_size > 1:
            raise UsageError(f"a peer's trainer is one process, and this Trainer has {args.world_size}")
        if args.include_num_input_tokens_seen == "no":
            args.include_num_input_tokens_seen = "all"  # what rounds by tokens and weights by tokens go by
        self._run = self._run or swarm.join()
        if self._run.charter.training.mode == "gradient":
            raise UsageError(
                "this run averages gradients, which no callback can: give the Trainer "
                "optimizers=(run.wrap(model, optimizer), None) instead"
            )
        model: torch.nn.Module = kwargs["model"]
        self._tokens_seen = int(state.num_input_tokens_seen)
        self._rounds = self._run.wrap(model, _Stepped(model))
        if self._rounds.is_finished:
            control.should_training_stop = True

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Remembers the loss that the Trainer shows (`logging_steps`): the only one it tells."""
        self._loss = float((kwargs.get("logs") or {}).get("loss", self._loss))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Counts the step that was made; a round with the swarm, if one is due after it."""
        assert self._rounds is not None, "a Trainer begins before it steps"
        seen = int(state.num_input_tokens_seen)
        self._rounds.report(tokens=seen - self._tokens_seen, loss=self._loss)
        self._tokens_seen = seen
        self._rounds.step()
        if self._rounds.is_finished:
            control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leaves the run; the node saves its state first."""
        if self._run is not None:
            self._run.close()


class _Stepped(torch.optim.Optimizer):
    """In the inner optimizer's place where the Trainer has made its step already."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__([{"params": list(model.parameters())}], {})

    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Nothing."""
