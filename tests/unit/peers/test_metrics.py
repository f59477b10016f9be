"""Figures for Prometheus: what a scrape reads, and where it may be read."""

import socket
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from peers.watch.metrics import Metrics, parse_endpoint
from swarm import events
from swarm.errors import NetworkError, UsageError
from tests.unit.telemetry.story import ROUNDS, story


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_scrape_reads_the_figures_of_the_view() -> None:
    peer = story()[0].peer
    port = _free_port()
    with Metrics(("127.0.0.1", port)) as metrics:
        for seen in story():
            if seen.peer == peer:
                metrics.see(events.Stamped(at=seen.at, event=seen.event))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    names = ("peer", "kind", "where")
    found = {(each.name, *(each.labels[name] for name in names if name in each.labels)): each.value for each in samples}
    assert found["tapestry_round", peer] == ROUNDS
    assert found["tapestry_sent_bytes_total", "update"] == 1500 * ROUNDS
    assert found["tapestry_border_bytes_total", "inside"] == 1000 * ROUNDS
    assert found["tapestry_border_bytes_total", "across"] == 1000 * ROUNDS
    assert found["tapestry_round_seconds",] == 0.5
    assert found["tapestry_loss", peer] == 2.0


def test_loopback_is_the_default() -> None:
    assert parse_endpoint("9100") == ("127.0.0.1", 9100)
    assert parse_endpoint("127.0.0.1:9100") == ("127.0.0.1", 9100)
    assert parse_endpoint("[::1]:9100") == ("::1", 9100)


@pytest.mark.parametrize("text", ["", "localhost", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "1:x", "1:٣"])
def test_what_is_no_endpoint_is_a_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="--metrics"):
        parse_endpoint(text)


def test_a_port_in_use_is_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(NetworkError, match="cannot serve metrics"):
            Metrics(("127.0.0.1", taken.getsockname()[1]))
