"""What a trainer reports to its node, made into events and handed to whom it concerns."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from swarm import events
from swarm.isolation.levels import UNCONFINED
from swarm.node.messages import Confined, FromTrainer, Imported, Progress, SetUp, TrainerHello, UpdateMade
from swarm.node.private_training import PrivateTraining
from swarm.node.startup import Startup
from swarm.sovereignty.gate import Gate

if TYPE_CHECKING:
    from swarm.node.engine import Engine


class Reports:
    """Called with each message."""

    def __init__(
        self, sink: Callable[[events.AnyEvent], None], startup: Startup, private: PrivateTraining | None
    ) -> None:
        self._sink = sink
        self._startup = startup
        self._private = private
        self._isolation = UNCONFINED
        """The trainer's, until its launcher says otherwise."""
        self.engine: Engine | None = None
        """Who announces progress, once it is there."""
        self._gate: Gate | None = None

    def judged_by(self, gate: Gate) -> None:
        """Tells the gate how far the trainer is isolated, now and when its launcher has said more."""
        self._gate = gate
        gate.isolated(self._isolation[0])

    def __call__(self, message: FromTrainer) -> None:
        match message:
            case Confined():
                self._isolation = (message.isolation, message.detail)
                if self._gate is not None:
                    self._gate.isolated(message.isolation)
            case Imported():
                self._startup.trainer_imports_s = message.seconds
            case TrainerHello():
                self._sink(events.TrainerReady(isolation=self._isolation[0], detail=self._isolation[1]))
            case SetUp():
                self._sink(message.event)
            case Progress():
                if self.engine is not None:
                    self.engine.progress(message.tokens, message.tokens_per_s)
                self._sink(
                    events.TrainingProgress(
                        round=message.round,
                        step=message.step,
                        loss=_loss(message),
                        tokens=message.tokens,
                        tokens_per_s=message.tokens_per_s,
                    )
                )
            case UpdateMade():
                if self._private is not None:
                    self._private.tell(message)
                self._sink(
                    events.UpdateReady(
                        round=message.round, tokens=message.tokens, loss=_loss(message), steps=message.steps
                    )
                )
            case _:
                pass


def _loss(message: Progress | UpdateMade) -> float:
    return events.UNKNOWN_LOSS if message.loss is None else message.loss
