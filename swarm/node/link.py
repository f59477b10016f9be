"""Between a trainer process and its node process: two vectors in shared memory and small typed messages on a socket.

The trainer's side is synchronous (`TrainerEnd`), the node's is asyncio (`NodeEnd`). Who may touch which vector when:

  base_N     written by the node just before `Base` or `Stop`; read by the trainer until its `UpdateMade` or `Yielded`
  update_N   written by the trainer just before `UpdateMade`; read by the node before its next `Base`
"""

import asyncio
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from swarm.errors import ModelError, NetworkError
from swarm.node.engine import Update
from swarm.node.shared import SharedVectors
from swarm.state.head import Head

MAX_MESSAGE_BYTES = 64 * 1024


class Message(msgspec.Struct, frozen=True, tag=True, tag_field="t", forbid_unknown_fields=True):
    """One JSON line on the control socket."""


class TrainerHello(Message, frozen=True):
    schema_digest: str
    isolation: str
    detail: str


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


class Yielded(Message, frozen=True):
    """The trainer has given up a round's inner steps and waits for a base."""

    round: int


class Begin(Message, frozen=True):
    """First message of a node: the run's verified charter is in this file."""

    charter: str


class Base(Message, frozen=True):
    """Train from the vector in `base_N`."""

    round: int


class Abandon(Message, frozen=True):
    """The round is over without this trainer."""

    round: int


class Stop(Message, frozen=True):
    """The node is done; `base_N` holds the Shared Base of `round` committed rounds."""

    round: int
    reason: str


FromTrainer = TrainerHello | Progress | UpdateMade | Yielded
FromNode = Begin | Base | Abandon | Stop

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
                data = self._control.recv(MAX_MESSAGE_BYTES)
            except OSError:
                data = b""
            if not data:
                raise _node_gone()
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return _FROM_NODE.decode(line)

    def await_charter(self) -> Path:
        """Waits for the node to have verified the run's charter. Raises NetworkError when it ends first."""
        message = self.receive()
        assert isinstance(message, Begin), "a node begins with Begin"
        return Path(message.charter)

    def poll(self) -> FromNode | None:
        """The next message if there is one."""
        if b"\n" not in self._buffer and not select.select([self._control], [], [], 0)[0]:
            return None
        return self.receive()


def _node_gone() -> NetworkError:
    return NetworkError("the node process has ended; its last message says why")


class NodeEnd:
    """The node's side: a `swarm.node.engine.Trainer`."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        shared: SharedVectors,
        schema_digest: str,
        on_message: Callable[[FromTrainer], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._shared = shared
        self._schema_digest = schema_digest
        self._on_message = on_message
        self._update: asyncio.Future[Update] | None = None
        self._round = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.hello: asyncio.Future[TrainerHello] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(
        cls,
        control_fd: int,
        shared: SharedVectors,
        charter: Path,
        schema_digest: str,
        on_message: Callable[[FromTrainer], None],
    ) -> "NodeEnd":
        """Takes the socket and tells the trainer where the charter is."""
        control = socket.socket(fileno=control_fd)
        reader, writer = await asyncio.open_connection(sock=control, limit=MAX_MESSAGE_BYTES)
        end = cls(reader, writer, shared, schema_digest, on_message)
        end._send(Begin(str(charter)))
        return end

    async def listen(self) -> None:
        """Takes the trainer's messages until it closes its end. Raises ModelError for a trainer with another model."""
        while line := await self._next_line():
            message = _FROM_TRAINER.decode(line)
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
                        self._update.set_result(Update(self._shared.update_N, message.tokens))
                case UpdateMade() | Yielded():
                    self._idle.set()
                case _:
                    pass
            self._on_message(message)

    async def _next_line(self) -> bytes:
        """Empty once the trainer is gone, also when it was killed before it had read everything."""
        try:
            return await self._reader.readline()
        except ConnectionError:
            return b""

    def begin(self, head: Head) -> "asyncio.Future[Update]":
        assert self._idle.is_set(), "the trainer still reads the base before"
        self._round = head.round + 1
        self._shared.base_N[:] = head.base_N
        self._update = asyncio.get_running_loop().create_future()
        self._idle.clear()
        self._send(Base(self._round))
        return self._update

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
        if not self._writer.is_closing():
            self._writer.write(msgspec.json.encode(message) + b"\n")


_FROM_NODE = msgspec.json.Decoder(FromNode)
_FROM_TRAINER = msgspec.json.Decoder(FromTrainer)
