"""A network inside one process: seeded latency, bandwidth, kills, freezes and partitions, under virtual time.

`run_virtual` runs a coroutine on a loop whose clock jumps to the next timer instead of waiting, so a test sees minutes
of protocol in milliseconds, the same way every time. A run in which nothing can ever happen again raises
`VirtualDeadlockError` instead of hanging.
"""

import asyncio
import random
import selectors
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net.tasks import Signal
from swarm.net.transport import StreamHandler, StreamLostError

T = TypeVar("T")

_TICK_S = 1e-7


class VirtualDeadlockError(RuntimeError):
    """No task can run and no timer is set: the code under test waits for something that cannot come."""


class _SkippingSelector(selectors.SelectSelector):
    """Never waits: a timeout moves the clock forward instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise VirtualDeadlockError("every task waits and no timer is set")
            self.now_s += max(timeout, 0.0)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose `time()` is virtual seconds since it was made."""

    def __init__(self) -> None:
        self._virtual = _SkippingSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now_s


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` to its end under virtual time and returns its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


@dataclass(frozen=True, kw_only=True)
class Link:
    """How every link behaves."""

    min_latency_s: float = 0.0005
    max_latency_s: float = 0.002
    bytes_per_s: float = 200e6
    window_bytes: int = 4 * 1024 * 1024
    """Bytes in flight in one direction of one stream before its sender waits."""


class MemoryNetwork:
    """All links and who is alive.

    `on_send(source, target)` runs before each frame, then `on_frame` with its bytes too: tests inject faults there.
    """

    def __init__(self, seed: int, link: Link | None = None) -> None:
        self.random = random.Random(seed)
        self.link = link or Link()
        self.on_send: Callable[[PeerId, PeerId], None] | None = None
        self.on_frame: Callable[[PeerId, PeerId, bytes], None] | None = None
        self.errors: list[BaseException] = []
        """What tasks that served streams died of; a handler that raises is a bug."""
        self._handlers: dict[PeerId, StreamHandler] = {}
        self._ends: dict[PeerId, dict[_End, None]] = {}
        """In order of opening, so that a seed means the same run every time."""
        self._serving: dict[PeerId, dict[asyncio.Task[None], None]] = {}
        self._frozen: set[PeerId] = set()
        self._undialable: set[PeerId] = set()
        self._side_of: dict[PeerId, int] = {}
        self._thawed = Signal()
        self._deaths: Counter[PeerId] = Counter()
        self._slowness: dict[PeerId, float] = {}
        self._rates: dict[PeerId, tuple[int, int]] = {}

    def transport(self, peer: PeerId, *, dialable: bool = True) -> "MemoryTransport":
        """A fresh transport for `peer`, which is alive from now on; transports from before its death stay dead."""
        self._ends.setdefault(peer, {})
        (self._undialable.discard if dialable else self._undialable.add)(peer)
        return MemoryTransport(self, peer)

    def kill(self, peer: PeerId) -> None:
        """The peer's process is gone: every stream of it breaks, new ones are refused."""
        self._deaths[peer] += 1
        self._handlers.pop(peer, None)
        for end in list(self._ends.pop(peer, ())):
            end.close()
        for task in self._serving.pop(peer, {}):
            task.cancel()

    def freeze(self, peer: PeerId) -> None:
        """The peer stops without closing anything (SIGSTOP): frames to and from it wait."""
        self._frozen.add(peer)

    def thaw(self, peer: PeerId) -> None:
        self._frozen.discard(peer)
        self._thawed.fire()

    def slow(self, peer: PeerId, factor: float) -> None:
        """Frames to and from the peer take `factor` times as long from now on; 1 is as fast as the link."""
        self._slowness[peer] = factor

    def declare_rates(self, peer: PeerId, up_bps: int, down_bps: int) -> None:
        """What the peer's transport says it has measured; frames go as fast as before."""
        self._rates[peer] = (up_bps, down_bps)

    def rates_of(self, peer: PeerId) -> tuple[int, int]:
        return self._rates.get(peer, (0, 0))

    def partition(self, *sides: Iterable[PeerId]) -> None:
        """Only peers of one side reach each other; existing streams between sides break."""
        self._side_of = {peer: number for number, side in enumerate(sides) for peer in side}
        for ends in list(self._ends.values()):
            for end in list(ends):
                if not self.connected(end.local, end.remote):
                    end.close()

    def heal(self) -> None:
        self._side_of = {}

    def connected(self, a: PeerId, b: PeerId) -> bool:
        return self._side_of.get(a) == self._side_of.get(b)

    def life_of(self, peer: PeerId) -> int:
        """Which of its lives a peer is in."""
        return self._deaths[peer]

    def is_alive(self, peer: PeerId) -> bool:
        return peer in self._ends

    async def until_thawed(self, *peers: PeerId) -> None:
        while any(peer in self._frozen for peer in peers):
            await self._thawed.wait()

    def latency_s(self) -> float:
        return self.random.uniform(self.link.min_latency_s, self.link.max_latency_s)

    def travel_s(self, source: PeerId, target: PeerId, size_bytes: int) -> float:
        """How long a frame is on its way."""
        slowness = max(self._slowness.get(source, 1.0), self._slowness.get(target, 1.0))
        return slowness * (self.latency_s() + size_bytes / self.link.bytes_per_s)

    async def connect(self, source: PeerId, target: PeerId) -> "_End":
        await self.until_thawed(source, target)
        await asyncio.sleep(self.travel_s(source, target, 0))
        handler = self._handlers.get(target)
        reachable = target in self._ends and source in self._ends and self.connected(source, target)
        if handler is None or not reachable or target in self._undialable:
            raise StreamLostError(f"{target} cannot be reached")
        near, far = _End(self, source, target), _End(self, target, source)
        near.other, far.other = far, near
        self._ends[source][near] = None
        self._ends[target][far] = None
        task = asyncio.create_task(self._serve(handler, far))
        serving = self._serving.setdefault(target, {})
        serving[task] = None
        task.add_done_callback(lambda done: self._served(serving, done))
        return near

    def _served(self, serving: dict[asyncio.Task[None], None], task: asyncio.Task[None]) -> None:
        serving.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.errors.append(error)

    def serve(self, peer: PeerId, handler: StreamHandler) -> None:
        self._handlers[peer] = handler

    def forget(self, end: "_End") -> None:
        self._ends.get(end.local, {}).pop(end, None)

    @staticmethod
    async def _serve(handler: StreamHandler, end: "_End") -> None:
        try:
            await handler(end)
        finally:
            end.close()


class MemoryTransport:
    """One peer's view of a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, peer: PeerId) -> None:
        self._network = network
        self._life = network.life_of(peer)
        self.peer_id = peer

    async def open(self, peer: PeerId) -> "_End":
        if self._network.life_of(self.peer_id) != self._life:
            raise StreamLostError("this process is dead")
        return await self._network.connect(self.peer_id, peer)

    async def open_bulk(self, peer: PeerId) -> "_End":
        return await self.open(peer)

    @property
    def rates_bps(self) -> tuple[int, int]:
        return self._network.rates_of(self.peer_id)

    async def measure(self) -> None:
        """Nothing to do: a test says what a link carries."""
        await asyncio.get_running_loop().create_future()

    async def serve(self, handler: StreamHandler) -> None:
        self._network.serve(self.peer_id, handler)


class _End:
    """One end of a stream. Frames already on their way arrive even if the sender closes after them."""

    def __init__(self, network: MemoryNetwork, local: PeerId, remote: PeerId) -> None:
        self._network = network
        self.local = local
        self.remote = remote
        self.other: _End = self
        self._inbox: deque[bytes] = deque()
        self._in_flight_bytes = 0
        self._last_arrival_s = 0.0
        self._closed = False
        self._changed = Signal()

    async def send(self, frame: bytes) -> None:
        network = self._network
        if network.on_send is not None:
            network.on_send(self.local, self.remote)
        if network.on_frame is not None:
            network.on_frame(self.local, self.remote, frame)
        await network.until_thawed(self.local, self.remote)
        while self._in_flight_bytes > network.link.window_bytes and not self._closed:
            await self._changed.wait()
        if self._closed:
            raise StreamLostError(f"stream to {self.remote} is closed")
        loop = asyncio.get_running_loop()
        took_s = network.travel_s(self.local, self.remote, len(frame))
        # Strictly later than the frame before: timers of equal times fire in no order.
        self._last_arrival_s = max(self._last_arrival_s + _TICK_S, loop.time() + took_s)
        self._in_flight_bytes += len(frame)
        loop.call_at(self._last_arrival_s, self._arrive, frame)

    def _arrive(self, frame: bytes) -> None:
        if not self.other._closed:
            self.other._inbox.append(frame)
            self.other._changed.fire()

    async def receive(self, max_bytes: int) -> bytes:
        while True:
            await self._network.until_thawed(self.local)
            if self._inbox:
                frame = self._inbox.popleft()
                self.other._in_flight_bytes -= len(frame)
                self.other._changed.fire()
                if len(frame) > max_bytes:
                    raise ProtocolError(f"a frame of {len(frame)} bytes where at most {max_bytes} are allowed")
                return frame
            if self._closed:
                raise StreamLostError(f"stream from {self.remote} is closed")
            await self._changed.wait()

    def limit_rate(self, bytes_per_s: int | None) -> None:
        """Not here: links have their declared rates."""

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._network.forget(self)
        self._changed.fire()
        # The other end learns of it after the frames that are still on their way.
        loop = asyncio.get_running_loop()
        loop.call_at(max(self._last_arrival_s, loop.time()) + self._network.link.min_latency_s, self.other.close)


class MemoryDirectory:
    """Announcements visible to everyone in one process, with expiry on the loop's clock."""

    def __init__(self) -> None:
        self._entries: dict[PeerId, tuple[float, bytes]] = {}

    def of(self, peer: PeerId) -> "MemoryDirectoryView":
        return MemoryDirectoryView(self, peer)

    def put(self, peer: PeerId, sealed: bytes, lifetime_s: float) -> None:
        self._entries[peer] = (asyncio.get_running_loop().time() + lifetime_s, sealed)

    def live(self) -> Sequence[bytes]:
        now = asyncio.get_running_loop().time()
        return [sealed for until, sealed in self._entries.values() if until > now]


@dataclass(frozen=True)
class MemoryDirectoryView:
    """One peer's handle on a `MemoryDirectory`."""

    shared: MemoryDirectory
    peer: PeerId

    async def announce(self, sealed: bytes, lifetime_s: float) -> None:
        self.shared.put(self.peer, sealed, lifetime_s)

    async def announcements(self) -> Sequence[bytes]:
        return self.shared.live()
