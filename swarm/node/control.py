"""The node's half of the control socket: lines of bytes from the trainer, counted, and never a file descriptor.

A trainer that is kept from the network could still hand its data to the node in what it reports. So little is taken: so
many bytes for each base it is given, and so many more with each second. A descriptor that comes along is closed at once
and ends the connection: nothing that belongs to the trainer may be open in the process that has the network.
"""

import array
import asyncio
import os
import socket
from collections.abc import Callable

from swarm.clock import monotonic_s
from swarm.errors import ModelError

BUDGET_BYTES = 16 * 1024
"""What a trainer may say at once, and what is saved up at most; it introduces itself with about a thousand bytes."""
BUDGET_BYTES_PER_BASE = 1024
"""What is added with each base it is given: the report on a round has about 200."""
BUDGET_BYTES_PER_S = 512
"""What is added with time: progress, twice a second, takes half of it."""
_MAX_DESCRIPTORS = 253
"""Most that one message can carry (the kernel's SCM_MAX_FD)."""
_READ_BYTES = 64 * 1024


class Budget:
    """A token bucket of bytes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = float(BUDGET_BYTES)
        self._at_s = clock()

    def grant(self, count: float) -> None:
        self._left = min(BUDGET_BYTES, self._left + count)

    def spend(self, count: int) -> bool:
        """Takes `count` bytes; False, and nothing is taken, if there are not so many."""
        now_s = self._clock()
        self.grant((now_s - self._at_s) * BUDGET_BYTES_PER_S)
        self._at_s = now_s
        if count > self._left:
            return False
        self._left -= count
        return True


class ControlSocket:
    """Takes a connected stream socket over; needs a running event loop."""

    def __init__(self, control: socket.socket, max_line_bytes: int, clock: Callable[[], float] = monotonic_s) -> None:
        self._socket = control
        self._socket.setblocking(False)
        self._lines = asyncio.StreamReader(limit=max_line_bytes)
        self._budget = Budget(clock)
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._open = True
        self._loop.add_reader(self._socket.fileno(), self._take)

    async def readline(self) -> bytes:
        """The next line; empty once the trainer is gone.

        Raises:
            ModelError: the trainer said more than it may, or sent a descriptor.
        """
        try:
            return await self._lines.readline()
        except ValueError:
            raise ModelError("the trainer sent a message longer than any there is") from None

    def write(self, data: bytes) -> None:
        """Sends, now or as soon as the trainer has read what came before; nothing once it is gone."""
        if self._open:
            self._unsent += data
            self._give()

    def grant(self) -> None:
        """Lets the trainer say what a round needs: it was given a base."""
        self._budget.grant(BUDGET_BYTES_PER_BASE)

    def _give(self) -> None:
        try:
            del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except ConnectionError:
            self._end(None)
            return
        if self._unsent:
            self._loop.add_writer(self._socket.fileno(), self._give)
        else:
            self._loop.remove_writer(self._socket.fileno())

    def close(self) -> None:
        self._end(None)

    def _take(self) -> None:
        descriptors = array.array("i")
        try:
            data, ancillary, _, _ = self._socket.recvmsg(
                _READ_BYTES, socket.CMSG_SPACE(_MAX_DESCRIPTORS * descriptors.itemsize)
            )
        except BlockingIOError:
            return
        except ConnectionError:
            self._end(None)
            return
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        for descriptor in descriptors:
            os.close(descriptor)
        if descriptors:
            self._end(ModelError(f"the trainer sent {len(descriptors)} file descriptor(s) to its node: closed unread"))
        elif not data:
            self._end(None)
        elif not self._budget.spend(len(data)):
            allowed = f"{BUDGET_BYTES} bytes at once, {BUDGET_BYTES_PER_BASE} a round and {BUDGET_BYTES_PER_S} a second"
            self._end(ModelError(f"the trainer says more to its node than its reports need ({allowed})"))
        else:
            self._lines.feed_data(data)

    def _end(self, error: ModelError | None) -> None:
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        if error is None:
            self._lines.feed_eof()
        else:
            self._lines.set_exception(error)
