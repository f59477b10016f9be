"""A node played by a thread over a socketpair: no process, no network."""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import numpy as np
import torch
from torch import nn

from swarm.charter.manifest import Training
from swarm.node.link import TrainerEnd
from swarm.node.messages import Base, FromNode, FromTrainer, Progress, Stop, TrainerHello, UpdateMade
from swarm.node.optimizer import SwarmOptimizer
from swarm.node.shared import SharedVectors
from swarm.node.spawn import make_shared_fd
from swarm.vector.flatten import elements, gather, named_parameters, schema

_FROM_TRAINER = msgspec.json.Decoder(FromTrainer)


def vector_of(model: nn.Module) -> np.ndarray:
    """A model's flat float32 [N] vector."""
    named = named_parameters(model)
    vector_N = np.empty(elements(schema(named.items())), np.float32)
    gather(named, vector_N)
    return vector_N


class FakeNode:
    """The node's end of one trainer's socket, driven by a script that runs in a thread."""

    def __init__(self, elements: int) -> None:
        self._socket, trainer = socket.socketpair()
        self.trainer = TrainerEnd(trainer)
        self._trainer_socket = trainer
        self._reader = self._socket.makefile("rb")
        self._shared_fd = make_shared_fd()
        self.shared = SharedVectors(self._shared_fd, elements)
        self.heard: list[FromTrainer] = []
        """Everything but progress, in order."""

    def send(self, message: FromNode) -> None:
        self._socket.sendall(msgspec.json.encode(message) + b"\n")

    def give_base(self, round_number: int, base_N: np.ndarray) -> None:
        self.shared.base_N[:] = base_N
        self.send(Base(round_number))

    def stop(self, base_N: np.ndarray, round_number: int) -> None:
        self.shared.base_N[:] = base_N
        self.send(Stop(round_number, "the last round is done"))

    def hear(self) -> FromTrainer:
        """The next message that is no progress."""
        while True:
            message = _FROM_TRAINER.decode(self._reader.readline())
            if not isinstance(message, Progress):
                self.heard.append(message)
                return message

    def hear_update(self) -> np.ndarray:
        """A copy of the next update, float32 [N]."""
        assert isinstance(self.hear(), UpdateMade), self.heard
        return self.shared.update_N.copy()

    def wrap(self, model: nn.Module, inner: torch.optim.Optimizer, training: Training) -> SwarmOptimizer:
        return SwarmOptimizer(model, inner, self.trainer, self.shared, training)

    def die(self) -> None:
        """As a killed process: the socket closes."""
        self._reader.close()
        self._socket.close()

    def close(self) -> None:
        self.die()
        self._trainer_socket.close()


@dataclass
class Script:
    """A node's part of a conversation, run beside the test; `join` raises what it raised."""

    work: Callable[[], object]
    _error: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> "Script":
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(30.0)
        assert not self._thread.is_alive(), "the node's script waits for something that never comes"
        if self._error:
            raise self._error[0]

    def _run(self) -> None:
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self._error.append(error)


def rounds(
    node: FakeNode, base_N: np.ndarray, count: int, step: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
) -> list[np.ndarray]:
    """A swarm of one: hello, `count` rounds of update -> `step(base, update, round)` -> base, Stop; the updates."""
    assert isinstance(node.hear(), TrainerHello)
    updates: list[np.ndarray] = []
    for number in range(1, count + 1):
        node.give_base(number, base_N)
        updates.append(node.hear_update())
        base_N = step(base_N, updates[-1], number)
    node.stop(base_N, count)
    return updates
