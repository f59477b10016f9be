"""Between a trainer process and its node process: two vectors in shared memory and small typed messages on a socket.

The trainer's side is synchronous (`TrainerEnd`), the node's is asyncio (`NodeEnd`). Who may touch which vector when:

  base_N     written by the node just before `Base`, `Score` or `Stop`; read by the trainer until its `UpdateMade`,
             `Yielded` or `Scored`
  update_N   written by the trainer just before `UpdateMade`; read by the node before its next `Base` or `GoOn`
"""

import asyncio
import math
import select
import socket
from collections.abc import Callable
from typing import TypeVar

import msgspec
import numpy as np

from swarm import events
from swarm.errors import ModelError, NetworkError
from swarm.node.control import ControlSocket
from swarm.node.shared import SharedVectors
from swarm.node.spending import Private
from swarm.node.work import Update
from swarm.sovereignty.privacy import Receipt
from swarm.state.head import Head

MAX_REPORT_BYTES = 4096
"""A trainer's longest message."""
_READ_BYTES = 64 * 1024
_LOSS_DIGITS = 4
"""Of figures that are only shown or estimated: a trainer cannot hide much in them."""


class Message(msgspec.Struct, frozen=True, tag=True, tag_field="t", forbid_unknown_fields=True):
    """One JSON line on the control socket."""


class Confined(Message, frozen=True):
    """The first message of a trainer's launcher, before the trainer runs: how far the kernel keeps it in."""

    isolation: str
    """A level of `swarm.isolation.levels`."""
    detail: str


class TrainerHello(Message, frozen=True):
    schema_digest: str


class Progress(Message, frozen=True):
    round: int
    step: int
    loss: float | None
    """None if the trainer reports none, or it is no finite number."""
    tokens: int
    tokens_per_s: float


class UpdateMade(Message, frozen=True):
    round: int
    tokens: int
    loss: float | None
    """None if the trainer reports none, or it is no finite number."""
    steps: int
    tokens_per_s: float = 0.0
    step_s: float = 0.0
    """What the shortest step takes."""
    receipt: Receipt | None = None
    """For the differential privacy that all steps so far have cost; None without it."""


class Imported(Message, frozen=True):
    """The built-in trainer has imported what it needs."""

    seconds: float
    """Since its process was started."""


class SetUp(Message, frozen=True):
    """What the built-in trainer computes with."""

    event: events.TrainerSetUp


class Scored(Message, frozen=True):
    """What the trainer makes of the base it was asked to score."""

    number: int
    """Of the question."""
    loss: float | None
    """On its held-out data; None if it has none, or the loss is no finite number."""
    has_diverged: bool = False
    """Whether it is no finite number."""


class Yielded(Message, frozen=True):
    """The trainer has given up a round's inner steps and waits for a base."""

    round: int


class Begin(Message, frozen=True):
    """First message of a node."""

    charter: str
    """The run's verified charter, as TOML: a confined trainer cannot open the state folder."""


class Base(Message, frozen=True):
    """Train from the vector in `base_N`."""

    round: int
    seconds: float | None = None
    """For so long; without it the charter's number of inner steps."""


class GoOn(Message, frozen=True):
    """No quorum can be reached: make the charter's number of inner steps more, from the weights as they are."""

    round: int


class Score(Message, frozen=True):
    """Score the base in `base_N`; it comes only while the trainer waits, and its own weights stay what they were."""

    number: int


class Finish(Message, frozen=True):
    """Hand over the update after the step that is being made."""

    round: int


class Abandon(Message, frozen=True):
    """The round is over without this trainer."""

    round: int


class Stop(Message, frozen=True):
    """The node is done; `base_N` holds the Shared Base of `round` committed rounds."""

    round: int
    reason: str


FromTrainer = Confined | Imported | TrainerHello | SetUp | Progress | UpdateMade | Scored | Yielded
FromNode = Begin | Base | GoOn | Score | Finish | Abandon | Stop

M = TypeVar("M")


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
        return _FROM_NODE.decode(line)

    def await_charter(self) -> str:
        """Waits for the node to have verified the run's charter (TOML). Raises NetworkError when it ends first."""
        message = self.receive()
        assert isinstance(message, Begin), "a node begins with Begin"
        return message.charter

    def wait(self, limit_s: float) -> FromNode | None:
        """The next message, or None if none comes in time. Raises NetworkError when the node process has ended."""
        if b"\n" not in self._buffer and not select.select([self._control], [], [], limit_s)[0]:
            return None
        return self.receive()

    def poll(self) -> FromNode | None:
        """The next message if there is one."""
        return self.wait(0.0)


def withheld(message: FromTrainer, step_tokens: int) -> FromTrainer:
    """A report without what depends on private records: no loss, no pace, and tokens as the charter has them."""
    match message:
        case Progress():
            tokens = message.step * step_tokens
            return msgspec.structs.replace(message, loss=None, tokens=tokens, tokens_per_s=0.0)
        case UpdateMade():
            tokens = message.steps * step_tokens
            return msgspec.structs.replace(message, loss=None, tokens=tokens, tokens_per_s=0.0)
        case _:
            return message


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
        self._begun = 0
        """Bases given so far."""
        self._asked = 0
        """Bases to score so far."""
        self._score: asyncio.Future[float | None] | None = None
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
            message = _read_report(line)
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
        self._begun += 1
        if self._private is not None:
            self._private.spending.begin()
        self._shared.base_N[:] = head.base_N
        self._update = asyncio.get_running_loop().create_future()
        self._idle.clear()
        self._control.grant()
        self._send(Base(self._round, seconds))
        return self._update

    def go_on(self) -> "asyncio.Future[Update]":
        assert self._idle.is_set(), "the trainer is still at work"
        self._update = asyncio.get_running_loop().create_future()
        self._idle.clear()
        self._control.grant()
        self._send(GoOn(self._round))
        return self._update

    def finish(self) -> None:
        if not self._idle.is_set():
            self._send(Finish(self._round))

    async def score(self, base_N: np.ndarray, current_N: np.ndarray) -> float | None:
        """The loss of a base on the trainer's held-out data, infinite for none that is a number.

        None if it has no such data, or is at work. `current_N` is what it has in `base_N`, and will find there again.
        """
        if not self._idle.is_set():
            return None
        self._asked += 1
        number, began = self._asked, self._begun
        self._score = asyncio.get_running_loop().create_future()
        self._shared.base_N[:] = base_N
        self._control.grant()
        self._send(Score(number))
        try:
            return await self._score
        finally:
            # A trainer that is asked no more reads what it must not use; its answer is of an older number.
            if (number, began) == (self._asked, self._begun):
                self._shared.base_N[:] = current_N

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


_FROM_NODE = msgspec.json.Decoder(FromNode)
_FROM_TRAINER = msgspec.json.Decoder(FromTrainer)


def _read_report(line: bytes) -> FromTrainer:
    """A trainer's message, its figures made coarse. Raises ModelError for what is none."""
    try:
        message = _FROM_TRAINER.decode(line)
    except msgspec.DecodeError:
        raise ModelError("the trainer sent its node something that is no message") from None
    if isinstance(message, Progress | UpdateMade):
        loss = None if message.loss is None else _coarse(message.loss)
        return msgspec.structs.replace(message, loss=loss, tokens_per_s=_coarse(message.tokens_per_s))
    if isinstance(message, Scored) and message.loss is not None:
        return msgspec.structs.replace(message, loss=_coarse(message.loss))
    if isinstance(message, Imported):
        return Imported(_coarse(message.seconds))
    return message


def _coarse(value: float) -> float:
    return float(f"{value:.{_LOSS_DIGITS}g}")
