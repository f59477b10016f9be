"""Where packets wait: in at one instant, out one delay later, in order, some of them lost. No clock and no device.

The delay depends on the pair of hosts, read from the third byte of the IPv4 addresses (see `topology.py`). Packets of
one delay leave in the order they came, so one queue for each different delay is enough and nothing is sorted.
"""

import random
from collections import deque
from collections.abc import Iterator

from benchmarks.wan.topology import HOST_NETWORK, Topology
from benchmarks.wan.tun import HEADER_BYTES

_VERSION_AT = HEADER_BYTES
_SOURCE_AT = HEADER_BYTES + 12
_TARGET_AT = HEADER_BYTES + 16
_IPV4_BYTES = 20
_PREFIX = HOST_NETWORK.network_address.packed[:2]


class DelayLine:
    """The queues of one link process."""

    def __init__(self, topology: Topology) -> None:
        self._loss = topology.loss
        self._random = random.Random(topology.seed)
        self._queue_of_delay: dict[float, deque[tuple[float, bytes]]] = {}
        self._way: dict[tuple[int, int], tuple[float, deque[tuple[float, bytes]]]] = {}
        for source in range(len(topology.hosts)):
            for target in range(len(topology.hosts)):
                delay_s = topology.one_way_s(source, target)
                queue = self._queue_of_delay.setdefault(delay_s, deque())
                self._way[source, target] = (delay_s, queue)
        self._queues = tuple(self._queue_of_delay.values())

    def put(self, packet: bytes, now_s: float) -> None:
        """Takes a packet in, virtio header first. What is not between two hosts has nowhere to go and is dropped."""
        if len(packet) < HEADER_BYTES + _IPV4_BYTES or packet[_VERSION_AT] >> 4 != 4:
            return
        if not packet.startswith(_PREFIX, _SOURCE_AT) or not packet.startswith(_PREFIX, _TARGET_AT):
            return
        way = self._way.get((packet[_SOURCE_AT + 2], packet[_TARGET_AT + 2]))
        if way is None or (self._loss > 0 and self._random.random() < self._loss):
            return
        delay_s, queue = way
        queue.append((now_s + delay_s, packet))

    def take_due(self, now_s: float) -> Iterator[bytes]:
        """Hands out every packet whose time has come."""
        for queue in self._queues:
            while queue and queue[0][0] <= now_s:
                yield queue.popleft()[1]

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until the next packet is due, None when none waits."""
        first_s = min((queue[0][0] for queue in self._queues if queue), default=None)
        return None if first_s is None else max(0.0, first_s - now_s)
