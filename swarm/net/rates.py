"""What this machine's link carries, measured in use: the most bytes acknowledged, and received, in half a second.

The kernel counts both per connection (`TCP_INFO`); what a peer wrote into a buffer, or read out of one, says nothing
about its link. Rounds too short to fill half a second measure nothing, and need no rate. Nor do those in which a fast
peer's processor was the limit: what it carried then follows from what it owned, and would let it own still more.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress

_SAMPLE_S = 0.1
_WINDOW_SAMPLES = 5
_KEPT_ROUNDS = 3
_BUSY = 0.7
"""A thread that worked, or waited for a processor, for more of a window than this was the limit, and not its link."""
_SLOW_BYTES_PER_S = 100_000_000 / 8
"""At most so much through a busy processor is a slow peer's, which must own less, whatever its link."""
_TCP_INFO_BYTES = 208
_ACKED_AND_RECEIVED = struct.Struct("=QQ")
_ACKED_OFFSET = 120
"""tcpi_bytes_acked, then tcpi_bytes_received, in Linux's struct tcp_info (since 4.1)."""
_SENT = struct.Struct("=Q")
_SENT_OFFSET = 200
"""tcpi_bytes_sent, retransmissions included (since 4.19)."""


class Meter:
    """Rates of one peer over all its lanes."""

    def __init__(self) -> None:
        self._sockets: dict[socket.socket, tuple[int, int]] = {}
        self._closed_bytes = 0
        self._marked: dict[socket.socket, int] = {}
        self._peaks: deque[tuple[float, float]] = deque(maxlen=_KEPT_ROUNDS)

    def watch(self, connection: socket.socket) -> None:
        """Counts a connection's bytes from now on, until it is closed."""
        self._sockets[connection] = _counters(connection) or (0, 0)

    def leave(self, connection: socket.socket) -> None:
        """A connection is about to be closed."""
        if self._sockets.pop(connection, None) is not None:
            self._closed_bytes += _sent(connection) - self._marked.pop(connection, 0)

    def take_closed_bytes(self) -> int:
        """Bytes sent since the last call, retransmissions included, on connections that were closed since then."""
        closed, self._closed_bytes = self._closed_bytes, 0
        self._marked = {connection: _sent(connection) for connection in self._sockets}
        return closed

    @property
    def rates_bps(self) -> tuple[int, int]:
        """Up and down in bits per second: the best of the last rounds; 0 while nothing has been measured."""
        up = max((peak[0] for peak in self._peaks), default=0.0)
        down = max((peak[1] for peak in self._peaks), default=0.0)
        return int(8 * up), int(8 * down)

    async def measure(self, now_s: Callable[[], float], busy_s: Callable[[], float]) -> None:
        """Measures one round until cancelled; what it found then counts as that round's.

        `busy_s` is what this thread has used of processors, or waited for them, so far.
        """
        window: deque[tuple[float, float, int, int]] = deque(maxlen=_WINDOW_SAMPLES + 1)
        up_total = down_total = 0
        best_up = best_down = 0.0
        self._take()
        window.append((now_s(), busy_s(), 0, 0))
        try:
            while True:
                await asyncio.sleep(_SAMPLE_S)
                up, down = self._take()
                up_total, down_total = up_total + up, down_total + down
                window.append((now_s(), busy_s(), up_total, down_total))
                if len(window) > _WINDOW_SAMPLES:
                    then_s, then_busy_s, then_up, then_down = window[0]
                    lasted_s = window[-1][0] - then_s
                    up_rate, down_rate = (up_total - then_up) / lasted_s, (down_total - then_down) / lasted_s
                    is_busy = window[-1][1] - then_busy_s > _BUSY * lasted_s
                    if not is_busy or max(up_rate, down_rate) <= _SLOW_BYTES_PER_S:
                        best_up, best_down = max(best_up, up_rate), max(best_down, down_rate)
        finally:
            if best_up and best_down:
                self._peaks.append((best_up, best_down))

    def _take(self) -> tuple[int, int]:
        """Bytes acknowledged and received on all watched connections since the last call."""
        up = down = 0
        for connection, (acked_before, received_before) in list(self._sockets.items()):
            counters = _counters(connection)
            if counters is None:
                del self._sockets[connection]
                continue
            self._sockets[connection] = counters
            up += counters[0] - acked_before
            down += counters[1] - received_before
        return up, down


def _counters(connection: socket.socket) -> tuple[int, int] | None:
    """Bytes acknowledged and received so far; None once the connection is closed or not Linux's."""
    info = _tcp_info(connection)
    if len(info) < _ACKED_OFFSET + _ACKED_AND_RECEIVED.size:
        return None
    return _ACKED_AND_RECEIVED.unpack_from(info, _ACKED_OFFSET)


def _sent(connection: socket.socket) -> int:
    info = _tcp_info(connection)
    return _SENT.unpack_from(info, _SENT_OFFSET)[0] if len(info) >= _SENT_OFFSET + _SENT.size else 0


def _tcp_info(connection: socket.socket) -> bytes:
    """Linux's struct tcp_info; empty for a closed connection and elsewhere."""
    with suppress(OSError, ValueError, AttributeError):
        if connection.fileno() >= 0:
            return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    return b""
