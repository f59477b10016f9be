"""Between a trainer process and its node process: two vectors in shared memory and small typed messages on a socket.

The trainer's side is synchronous (`TrainerEnd`), the node's is asyncio (`NodeEnd`). Who may touch which vector when:

  base_N     written by the node just before `Base`, `Score` or `Stop`; read by the trainer until its `UpdateMade`,
             `Yielded` or `Scored`
  update_N   written by the trainer just before `UpdateMade`; read by the node before its next `Base` or `GoOn`, and
             after a `TrainBeside` before its `Finish`
"""

import asyncio
import math
import select
import socket
from collections.abc import Callable

import msgspec
import numpy as np

from swarm.errors import ModelError, NetworkError
from swarm.node.control import ControlSocket
from swarm.node.messages import (
    MAX_REPORT_BYTES,
    Abandon,
    Base,
    Begin,
    Confined,
    Finish,
    FromNode,
    FromTrainer,
    GoOn,
    Score,
    Scored,
    Stop,
    TrainBeside,
    TrainerHello,
    UpdateMade,
    Yielded,
    read_order,
    read_report,
    withheld,
)
from swarm.node.shared import SharedVectors
from swarm.node.spending import Private
from swarm.node.work import Update
from swarm.state.head import Head

_READ_BYTES = 64 * 1024


class TrainerEnd:
    """The trainer's side; blocks where it must wait for the node."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._buffer = b""

    def send(self, message: FromTrainer) -> None:
        try:
            self._control.sendall(msgspec.json.encode(message) + b"\n")
        except OSError:
            raise _node_gone() from None

    def receive(self) -> FromNode:
        """Waits for the next message. Raises NetworkError when the node process has ended."""
        while b"\n" not in self._buffer:
            try:
                data = self._control.recv(_READ_BYTES)
            except OSError:
                data = b""
            if not data:
                raise _node_gone()
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return read_order(line)

    def await_charter(self) -> str:
        """Waits for the node to have verified the run's charter (TOML). Raises NetworkError when it ends first."""
        message = self.receive()
        assert isinstance(message, Begin), "a node begins with Begin"
        return message.charter

    def wait(self, limit_s: float | None) -> FromNode | None:
        """The next message; None if none comes within a limit. Raises NetworkError when the node process has ended."""
        if b"\n" not in self._buffer and not select.select([self._control], [], [], limit_s)[0]:
            return None
        return self.receive()

    def poll(self) -> FromNode | None:
        """The next message if there is one."""
        return self.wait(0.0)


def _node_gone() -> NetworkError:
    return NetworkError("the node process has ended; its last message says why")


class NodeEnd:
    """The node's side: a `swarm.node.engine.Trainer`."""

    def __init__(
        self,
        control: ControlSocket,
        shared: SharedVectors,
        schema_digest: str,
        on_message: Callable[[FromTrainer], None],
        private: Private | None = None,
    ) -> None:
        self._private = private
        self._control = control
        self._shared = shared
        self._schema_digest = schema_digest
        self._on_message = on_message
        self._update: asyncio.Future[Update] | None = None
        self._round = 0
        self._asked = 0
        """Bases to score so far."""
        self._score: asyncio.Future[float | None] | None = None
        self._is_scoring = False
        self._next: tuple[Head, float | None] | None = None
        """What the trainer is to begin with once it has scored a base."""
        self._is_beside = False
        """Whether the trainer is at steps beside its last update, which it must not write over before `finish`."""
        self._idle = asyncio.Event()
        self._idle.set()
        self.hello: asyncio.Future[TrainerHello] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(
        cls,
        control_fd: int,
        shared: SharedVectors,
        charter: str,
        schema_digest: str,
        on_message: Callable[[FromTrainer], None],
        private: Private | None = None,
    ) -> "NodeEnd":
        """Takes the socket and tells the trainer the charter; `private` if it trains under differential privacy."""
        control = ControlSocket(socket.socket(fileno=control_fd), MAX_REPORT_BYTES)
        end = cls(control, shared, schema_digest, on_message, private)
        end._send(Begin(charter))
        return end

    async def listen(self) -> None:
        """Takes the trainer's messages until it closes its end.

        Raises:
            ModelError: it trains another model, or says or sends what it may not.
        """
        is_first = True
        while line := await self._control.readline():
            message = read_report(line)
            if isinstance(message, Confined) and not is_first:
                raise ModelError("the trainer speaks of its own confinement: only what started it can")
            is_first = False
            if self._private is not None:
                message = await self._withhold(message, self._private)
            match message:
                case TrainerHello():
                    if message.schema_digest != self._schema_digest:
                        raise ModelError(
                            "the trainer's parameters (names and shapes) are not those the charter was made for"
                        )
                    self.hello.set_result(message)
                case UpdateMade() if message.round == self._round:
                    self._idle.set()
                    if self._update is not None and not self._update.done():
                        self._update.set_result(
                            Update(
                                self._shared.update_N,
                                message.tokens,
                                message.tokens_per_s,
                                message.step_s,
                                message.receipt,
                            )
                        )
                case UpdateMade() | Yielded():
                    self._idle.set()
                case Scored(number, loss, has_diverged) if number == self._asked:
                    if self._score is not None and not self._score.done():
                        self._score.set_result(math.inf if has_diverged else loss)
                case _:
                    pass
            self._on_message(message)

    async def _withhold(self, message: FromTrainer, private: Private) -> FromTrainer:
        """A report as far as it may be known: an update without a good receipt is emptied, too."""
        if isinstance(message, UpdateMade):
            receipt = await private.spending.confirm(message.receipt)
            if receipt is None:
                self._shared.update_N[:] = 0  # else it would wait in the residuals for the next good one
            message = msgspec.structs.replace(message, receipt=receipt)
        return withheld(message, private.step_tokens)

    def begin(self, head: Head, seconds: float | None = None) -> "asyncio.Future[Update]":
        assert self._idle.is_set(), "the trainer still reads the base before"
        self._round = head.round + 1
        self._update = asyncio.get_running_loop().create_future()
        if self._is_scoring:
            self._next = head, seconds
        else:
            self._give(head, seconds)
        return self._update

    def _give(self, head: Head, seconds: float | None) -> None:
        if self._private is not None:
            self._private.spending.begin()
        self._shared.base_N[:] = head.base_N
        self._set_to_work(Base(head.round + 1, seconds))

    def go_on(self) -> "asyncio.Future[Update]":
        self._update = asyncio.get_running_loop().create_future()
        self._set_to_work(GoOn(self._round))
        return self._update

    def train_beside(self) -> "asyncio.Future[Update]":
        if self._private is not None:
            self._private.spending.begin()
        self._update = asyncio.get_running_loop().create_future()
        self._set_to_work(TrainBeside(self._round))
        self._is_beside = True
        return self._update

    def _set_to_work(self, order: Base | GoOn | TrainBeside) -> None:
        assert self._idle.is_set(), "the trainer is still at work"
        self._is_beside = False
        self._idle.clear()
        self._control.grant()
        self._send(order)

    def finish(self) -> None:
        if not self._idle.is_set():
            self._is_beside = False
            self._send(Finish(self._round))

    async def score(self, base_N: np.ndarray, current_N: np.ndarray) -> float | None:
        """The loss of a base on the trainer's held-out data, infinite for none that is a number.

        None if it has no such data. `current_N` is what it has in `base_N`, and will find there again. Steps that it is
        at are for a round whose roster was closed without them: it hands them over first. Those beside an update that
        is in a roster are not wanted yet: it scores between two of them.
        """
        while not (self._idle.is_set() or self._is_beside):
            self.finish()
            await self._idle.wait()
        self._is_scoring = True
        self._asked += 1
        number = self._asked
        self._score = asyncio.get_running_loop().create_future()
        self._shared.base_N[:] = base_N
        self._control.grant()
        self._send(Score(number))
        try:
            return await self._score
        finally:
            # A trainer that is asked no more reads what it must not use; nobody waits for its answer.
            if number == self._asked:
                self._is_scoring = False
                following, self._next = self._next, None
                if following is None:
                    self._shared.base_N[:] = current_N
                else:
                    self._give(*following)

    async def abandon(self) -> None:
        if not self._idle.is_set():
            self._send(Abandon(self._round))
            await self._idle.wait()

    async def stop(self, head: Head, reason: str, limit_s: float) -> None:
        """Hands the trainer the final base, if it lets go of the old one within `limit_s`."""
        try:
            async with asyncio.timeout(limit_s):
                await self.abandon()
        except TimeoutError:
            return
        self._shared.base_N[:] = head.base_N
        self._send(Stop(head.round, reason))

    def _send(self, message: FromNode) -> None:
        self._control.write(msgspec.json.encode(message) + b"\n")
