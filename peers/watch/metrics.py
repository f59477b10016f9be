"""A peer's figures for Prometheus: the view of its own events, as gauges and counters over HTTP. On request only.

Loss, tokens/s and the like change as the view does; nothing is sampled or kept here.
"""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from peers.watch.scene import Scene
from swarm import events
from swarm.clock import unix_s
from swarm.errors import NetworkError, UsageError
from swarm.telemetry.seen import Logged

_LOOPBACK = "127.0.0.1"


def parse_endpoint(text: str) -> tuple[str, int]:
    """`HOST:PORT`, or a port alone, which is of loopback. Raises UsageError."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise UsageError(f"--metrics: {text!r} is not of the form 127.0.0.1:9100")
    return host.strip("[]") or _LOOPBACK, int(port)


class Metrics:
    """Serves one peer's figures while it is open; give `see` every event. Use as a context manager."""

    def __init__(self, endpoint: tuple[str, int]) -> None:
        """Raises NetworkError when the address cannot be listened on."""
        self._scene = Scene(unix_s)
        self._peer = ""
        self._before: list[events.Stamped] = []
        registry = CollectorRegistry()
        registry.register(_Figures(self._scene))
        host, port = endpoint
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise NetworkError(f"cannot serve metrics on {host}:{port}: {error.strerror}") from None

    def see(self, stamped: events.Stamped) -> None:
        """Takes one event of the peer's node."""
        if isinstance(stamped.event, events.NodeStarted):
            self._peer = stamped.event.peer
        self._before.append(stamped)
        if self._peer:
            for each in self._before:
                self._scene.take(Logged(peer=self._peer, at=each.at, event=each.event))
            self._before.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Figures(Collector):
    """What a scrape reads."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def collect(self) -> Iterator[Metric]:
        view = self._scene.view
        labels = ["peer", "region", "member"]
        round_number = GaugeMetricFamily("tapestry_round", "The last committed round.", labels=labels)
        tokens = GaugeMetricFamily("tapestry_tokens_per_second", "How fast this peer trains.", labels=labels)
        loss = GaugeMetricFamily("tapestry_loss", "The trainer's last loss.", labels=labels)
        epsilon = GaugeMetricFamily("tapestry_epsilon", "Differential privacy spent so far.", labels=labels)
        refused = CounterMetricFamily("tapestry_frames_refused", "Frames that broke the protocol.", labels=labels)
        denied = CounterMetricFamily("tapestry_updates_denied", "Updates the gate kept back.", labels=labels)
        aborted = CounterMetricFamily("tapestry_attempts_aborted", "Attempts that ended without result.", labels=labels)
        for row in view.peers:
            values = [row.peer, row.region, row.member]
            round_number.add_metric(values, row.round)
            tokens.add_metric(values, row.tokens_per_s)
            refused.add_metric(values, row.refused)
            denied.add_metric(values, row.denied)
            aborted.add_metric(values, row.aborted)
            if row.loss is not None:
                loss.add_metric(values, row.loss)
            if row.epsilon is not None:
                epsilon.add_metric(values, row.epsilon)
        yield from (round_number, tokens, loss, epsilon, refused, denied, aborted)
        sent = CounterMetricFamily("tapestry_sent_bytes", "Payload bytes that left, by kind.", labels=["kind"])
        for kind, count in view.totals.by_kind.items():
            sent.add_metric([kind], count)
        yield sent
        border = CounterMetricFamily("tapestry_border_bytes", "Payload bytes by where they went.", labels=["where"])
        border.add_metric(["inside"], view.totals.inside_bytes)
        border.add_metric(["across"], view.totals.across_bytes)
        yield border
        committed = [row for row in view.rounds if row.committed and row.seconds is not None]
        seconds = GaugeMetricFamily("tapestry_round_seconds", "From an update to the new base, in the last round.")
        if committed and committed[-1].seconds is not None:
            seconds.add_metric([], committed[-1].seconds)
        yield seconds
