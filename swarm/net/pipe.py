"""Bytes in and out of one asyncio transport with few copies. Knows neither frames nor peers.

asyncio's `StreamReader` collects what arrives in pieces, pauses at 128 KiB, and moves the rest of its buffer at every
read: for frames of a quarter of a megabyte that is four copies and several wake-ups each. Here a long read's bytes
are received where they belong, and the reader wakes once. A read that is cancelled may have used bytes up: close
the stream then.
"""

import asyncio
import socket
import sys
from typing import cast

from swarm.clock import monotonic_s

_AHEAD_BYTES = 64 * 1024
"""Received before anybody reads; then the other end has to wait."""
_WRITE_BUFFER_BYTES = 128 * 1024
_UNSENT_BYTES = 64 * 1024
"""What the kernel holds of a connection beyond what is on its way. More would leave lanes that ended at different times
in the buffers alone, where nobody can even them out."""
_TCP_NOTSENT_LOWAT = 25
_SO_MAX_PACING_RATE = 47
"""Linux's; the socket module of Python 3.11 has neither."""
_CAN_BE_PACED = sys.platform == "linux"
_MAX_PACED_BYTES_PER_S = 2**31 - 1
_REST_BYTES = 32 * 1024
_LEAST_REST_S, _LONGEST_REST_S = 0.008, 0.035
"""On a slow link a long read leaves what comes to the kernel until so much has come, or so long. The kernel
acknowledges at every reading, else every second packet, which takes 2 % of a link that is busy both ways; and waking
this process for every packet costs more. Beyond 40 ms the kernel acknowledges by its own clock. So much fits into any
receive window: a rest that closed it would make a fast link slow, and rests seem right."""


def take_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> "Pipe":
    """The pipe on a connection whose opening words were read from `reader`; neither argument may be used any more."""
    buffered = cast(bytearray, reader._buffer)  # pyright: ignore[reportAttributeAccessIssue] (asyncio has no public way)
    received = bytes(buffered)
    buffered.clear()
    return Pipe(cast(asyncio.Transport, writer.transport), received, has_ended=reader.at_eof())


class Pipe(asyncio.BufferedProtocol):
    """One connected transport. One reader at a time, any number of writers."""

    def __init__(self, transport: asyncio.Transport, received: bytes, *, has_ended: bool) -> None:
        self._transport = transport
        self._ahead = memoryview(bytearray(max(2 * len(received), _AHEAD_BYTES)))
        self._ahead[: len(received)] = received
        self._start, self._stop = 0, len(received)
        self._target: memoryview | None = None
        """What the read at hand still has to receive, if it is a long one."""
        self._least = 0
        """Bytes ahead that the read at hand waits for, if it is a short one."""
        self._reading: asyncio.Future[None] | None = None
        self._writing: list[asyncio.Future[None]] = []
        self._may_write = True
        self._error: Exception | None = None
        found: socket.socket | None = transport.get_extra_info("socket")
        self._tcp = found if found is not None and found.family in (socket.AF_INET, socket.AF_INET6) else None
        self._began_s = 0.0
        """When the first bytes of the long read at hand came."""
        self._came_bytes = 0
        self._s_per_byte = 0.0
        """Of the last long read."""
        self._rest: asyncio.TimerHandle | None = None
        self._paced_at = _MAX_PACED_BYTES_PER_S
        if has_ended or transport.is_closing():
            self._error = ConnectionResetError("the other end has left")
            return
        transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        if self._tcp is not None and _CAN_BE_PACED:
            self._tcp.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        transport.set_protocol(self)
        transport.resume_reading()  # the protocol before may have paused it

    # --- for the stream -----------------------------------------------------------------------------------------------

    async def read(self, count: int) -> bytes | bytearray:
        """Exactly `count` bytes. Raises OSError when the other end is gone before they came."""
        if count > len(self._ahead):
            data = bytearray(count)
            await self.read_into(memoryview(data))
            return data
        have = self._stop - self._start
        if have < count:
            self._ahead[:have] = self._ahead[self._start : self._stop]
            self._start, self._stop = 0, have
            self._least = count
            await self._received()
        self._start += count
        return bytes(self._ahead[self._start - count : self._start])

    async def read_into(self, target: memoryview) -> None:
        """Fills `target`. Raises OSError when the other end is gone before that."""
        have = min(self._stop - self._start, len(target))
        target[:have] = self._ahead[self._start : self._start + have]
        self._start += have
        if have < len(target):
            self._start = self._stop = 0
            self._target = target[have:]
            self._came_bytes = 0
            await self._received()

    async def write(self, *parts: bytes | bytearray) -> None:
        """Hands the parts to the transport and waits while it is full. Raises OSError when the other end is gone."""
        if self._error is not None or self._transport.is_closing():
            raise self._error or ConnectionResetError("the stream is closed")
        self._transport.writelines(parts)
        if not self._may_write:
            writing = asyncio.get_running_loop().create_future()
            self._writing.append(writing)
            await writing

    async def readable(self) -> None:
        """Returns once there is something to read. Raises OSError when the other end is gone."""
        if self._start == self._stop:
            self._start = self._stop = 0
            self._least = 1
            await self._received()

    def write_soon(self, *parts: bytes | bytearray) -> None:
        """As `write`, without waiting and without an error: for last words."""
        if self._error is None and not self._transport.is_closing():
            self._transport.writelines(parts)

    @property
    def is_read(self) -> bool:
        """Whether a reader waits."""
        return self._reading is not None

    @property
    def has_failed(self) -> bool:
        """Whether the other end, or this one, has closed the connection."""
        return self._error is not None or self._transport.is_closing()

    async def _received(self) -> None:
        if self._error is not None:
            raise self._error
        assert self._reading is None, "two reads at once"
        self._reading = asyncio.get_running_loop().create_future()
        self._transport.resume_reading()
        try:
            await self._reading
        finally:
            self._reading = self._target = None
            self._least = 0
            if self._rest is not None:  # the read was cancelled
                self._rest.cancel()
                self._rest = None

    def limit_rate(self, bytes_per_s: int | None) -> None:
        """Bytes per second that the kernel sends at most, where it can do that; None: no limit."""
        limit = _MAX_PACED_BYTES_PER_S if bytes_per_s is None else min(bytes_per_s, _MAX_PACED_BYTES_PER_S)
        if self._tcp is not None and _CAN_BE_PACED and limit != self._paced_at and not self._transport.is_closing():
            self._tcp.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, limit)
            self._paced_at = limit

    def _count(self, count: int) -> None:
        """Bytes of a long read have come: how fast, and whether to rest before the next ones."""
        assert self._target is not None
        now_s = monotonic_s()
        if self._came_bytes == 0:
            self._began_s = now_s
        self._came_bytes += count
        if now_s > self._began_s:
            self._s_per_byte = (now_s - self._began_s) / self._came_bytes
        rest_s = min(_LONGEST_REST_S, min(_REST_BYTES, len(self._target)) * self._s_per_byte)
        if self._target and rest_s >= _LEAST_REST_S:
            self._transport.pause_reading()
            self._rest = asyncio.get_running_loop().call_later(rest_s, self._wake)

    def _wake(self) -> None:
        self._rest = None
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # --- for the transport --------------------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._ahead[self._stop :] if self._target is None else self._target

    def buffer_updated(self, nbytes: int) -> None:
        if self._target is not None:
            self._target = self._target[nbytes:]
            is_whole = not self._target
            if self._tcp is not None:
                self._count(nbytes)
            if is_whole:
                self._target = None
        else:
            self._stop += nbytes
            is_whole = self._stop - self._start >= self._least
        if self._target is None and self._stop == len(self._ahead):
            self._transport.pause_reading()
        if is_whole and self._reading is not None and not self._reading.done():
            self._reading.set_result(None)

    def eof_received(self) -> bool:
        self._fail(ConnectionResetError("the other end has left"))
        return True  # what is still to be sent may go

    def connection_lost(self, exc: Exception | None) -> None:
        error = exc or ConnectionResetError("the connection is closed")
        self._fail(error)
        for writing in self._writing:
            if not writing.done():
                writing.set_exception(error)
        # The transport and this hold each other until the garbage collector comes, which knows no sizes.
        self._ahead = memoryview(bytearray(self._ahead[self._start : self._stop]))
        self._start, self._stop = 0, len(self._ahead)

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        for writing in self._writing:
            if not writing.done():
                writing.set_result(None)
        self._writing.clear()

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        if self._reading is not None and not self._reading.done():
            self._reading.set_exception(self._error)
