"""What the protocol asks of a network: streams of frames between authenticated peers, and a directory of who is there.

Two implementations of each: `memory.py` (seeded latency, loss of peers, partitions, virtual time) and the two adapters
to hivemind (`libp2p.py`, `kademlia.py`). Protocol code sees only these types.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable

from swarm.identity.peer_id import PeerId

Buffer = bytes | bytearray | memoryview
"""What a received frame may be in."""


class StreamLostError(Exception):
    """The other end is gone, cannot be reached, or the stream was closed: expected by whoever awaits a peer."""


class Stream(Protocol):
    """An ordered, reliable, bidirectional sequence of frames with one authenticated peer."""

    @property
    def remote(self) -> PeerId: ...

    async def send(self, frame: bytes) -> None:
        """Sends one frame, waiting while the link is full. Raises StreamLostError."""
        ...

    async def receive(self, max_bytes: int) -> Buffer:
        """Receives one frame, in memory that is the caller's until it receives the next one.

        Raises:
            StreamLostError: the other end closed or vanished.
            ProtocolError: the announced frame is longer than `max_bytes`.
        """
        ...

    def limit_rate(self, bytes_per_s: int | None) -> None:
        """Sends no faster than this from now on; None: as fast as the link takes it. A hint where it cannot be done."""
        ...

    def close(self) -> None:
        """Closes both directions at once; the other end sees StreamLostError after what was already sent."""
        ...


@runtime_checkable
class RelayedStream(Stream, Protocol):
    """A stream that another peer passes on, encrypted between its ends."""

    relay_region: str
    """Where that peer is; empty while that is unknown."""


StreamHandler = Callable[[Stream], Awaitable[None]]


class Transport(Protocol):
    """Opens streams to peers by id, and hands incoming ones to one handler."""

    @property
    def peer_id(self) -> PeerId: ...

    async def open(self, peer: PeerId) -> Stream:
        """Opens a stream. Raises StreamLostError when the peer cannot be reached."""
        ...

    async def open_bulk(self, peer: PeerId) -> Stream:
        """As `open`, for many bytes: where the network has a cheaper way to a peer, the stream takes it."""
        ...

    @property
    def rates_bps(self) -> tuple[int, int]:
        """What this peer's link was measured to carry up and down, in bits per second; 0 while nothing has been."""
        ...

    async def measure(self) -> None:
        """Measures the link in use, until cancelled."""
        ...

    async def serve(self, handler: StreamHandler) -> None:
        """Calls `handler` for every incoming stream, each in its own task; the stream closes when it returns."""
        ...


class Directory(Protocol):
    """Signed announcements by peers, found by everybody: addresses and progress, never the truth about membership."""

    async def announce(self, sealed: bytes, lifetime_s: float) -> None:
        """Publishes this peer's sealed announcement, replacing the one before."""
        ...

    async def announcements(self) -> Sequence[bytes]:
        """Every sealed announcement that can be found now, in no order, not yet verified."""
        ...
