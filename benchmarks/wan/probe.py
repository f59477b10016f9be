"""Is the lab what it says? Round trips and plain TCP transfers through it, measured from inside, against the settings.

Threads of this process stand in for hosts: each enters its host's namespace for good. No engine takes part.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.wan import namespace
from benchmarks.wan.counters import Counters
from benchmarks.wan.lab import Lab
from benchmarks.wan.topology import host_outer
from swarm.clock import process_s
from swarm.errors import NetworkError

_BITS = 8
_BLOCK_BYTES = 1 << 20
_WARM_UP_SHARE = 0.25
"""Of the transfer's time, at its start, for TCP to find the rate; not counted, as in `iperf3 --omit`."""
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One TCP transfer."""

    source: int
    target: int
    bps: float
    """Content received per second, headers not counted, after the warm-up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Several flows at once."""

    flows: tuple[Flow, ...]
    seconds: float
    traffic: Counters
    link_cpu_s: float

    @property
    def bps(self) -> float:
        return sum(flow.bps for flow in self.flows)


def round_trip_s(lab: Lab, source: int, target: int, *, tries: int = 5) -> float:
    """Median time that a TCP connection takes to open: one round trip."""
    listener = _listen(lab, target)
    samples: list[float] = []

    def connect() -> None:
        for _ in range(tries):
            before_s = process_s()
            with socket.create_connection(_address(listener, target), timeout=_PATIENCE_S):
                samples.append(process_s() - before_s)

    with listener:
        _at_once([(lab, source, connect)])
    return median(samples)


def transfer(lab: Lab, pairs: Sequence[tuple[int, int]], *, seconds: float) -> Transfer:
    """Streams zeros from each source to its target, all pairs at once."""
    listeners = [_listen(lab, target) for _, target in pairs]
    rates_bps = [0.0] * len(pairs)

    def receive(index: int) -> None:
        connection, _ = listeners[index].accept()
        buffer = bytearray(_BLOCK_BYTES)
        counted_bytes, began_s = 0, process_s()
        first_s = last_s = began_s + seconds * _WARM_UP_SHARE
        with connection:
            connection.settimeout(_PATIENCE_S)
            while count := connection.recv_into(buffer):
                last_s = process_s()
                if last_s < first_s:
                    continue
                if counted_bytes == 0:  # the clock starts after this block, which is therefore not counted
                    first_s = last_s
                    counted_bytes = 1
                    continue
                counted_bytes += count
        rates_bps[index] = counted_bytes * _BITS / (last_s - first_s) if last_s > first_s else 0.0

    def send(index: int) -> None:
        block = bytes(_BLOCK_BYTES // 16)
        with socket.create_connection(_address(listeners[index], pairs[index][1]), timeout=_PATIENCE_S) as connection:
            until_s = process_s() + seconds
            while process_s() < until_s:
                connection.sendall(block)

    traffic, cpu_s, before_s = lab.counters(), lab.cpu_s(), process_s()
    _at_once(
        [(lab, target, lambda index=index: receive(index)) for index, (_, target) in enumerate(pairs)]
        + [(lab, source, lambda index=index: send(index)) for index, (source, _) in enumerate(pairs)]
    )
    for listener in listeners:
        listener.close()
    return Transfer(
        flows=tuple(
            Flow(source=source, target=target, bps=bps) for (source, target), bps in zip(pairs, rates_bps, strict=True)
        ),
        seconds=process_s() - before_s,
        traffic=lab.counters().since(traffic),
        link_cpu_s=lab.cpu_s() - cpu_s,
    )


def _listen(lab: Lab, host: int) -> socket.socket:
    """A socket belongs to the namespace in which it was made, whoever uses it later."""
    listener = socket.socket()
    made: list[socket.socket] = []

    def make() -> None:
        made.append(socket.create_server(("0.0.0.0", 0)))

    listener.close()
    _at_once([(lab, host, make)])
    return made[0]


def _address(listener: socket.socket, host: int) -> tuple[str, int]:
    return str(host_outer(host)), listener.getsockname()[1]


def _at_once(jobs: Sequence[tuple[Lab, int, Callable[[], None]]]) -> None:
    """Runs each job in its host's namespace and waits for all; the first failure is raised."""
    failures: list[OSError] = []

    def run(lab: Lab, host: int, job: Callable[[], None]) -> None:
        try:
            namespace.enter_path(lab.namespace_of(host))
            job()
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise NetworkError(f"the lab does not carry TCP: {failures[0]}")
