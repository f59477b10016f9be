"""The document's names and reductions, and the command line's answers to bad numbers."""

import io
import json
import os
import platform

import pytest
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import machine, report
from benchmarks.allreduce import ENGINES, check_memory
from benchmarks.cli import app
from benchmarks.harness import Measured, RoundSample
from swarm.errors import UsageError


def _sample(data_s: float) -> RoundSample:
    return RoundSample(
        form_s=0.1,
        data_s=data_s,
        round_s=0.1 + data_s,
        commit_s=0.2,
        cpu_s_per_peer=data_s / 2,
        commit_cpu_s_per_peer=0.25,
        wire_bytes_per_peer=1e9,
        rss_extra_bytes=1_000_000,
        rss_beyond_bytes=200_000,
        rms_error=0.01,
    )


def _result(engine: str, *seconds: float) -> report.Result:
    measured = Measured(tuple(_sample(one) for one in seconds), incomplete_rounds=1)
    return report.result(engine=engine, codec="int8", peers=4, mb=128, threads_per_peer=1, measured=measured)


def test_medians_and_spread() -> None:
    result = _result("tapestry", 3.0, 1.0, 2.0)
    assert (result.rounds, result.data_s, result.cpu_s_per_peer) == (3, 2.0, 1.0)
    assert result.spread["data_s"] == (1.0, 3.0)
    assert result.wire_bps_per_peer == 4e9
    assert result.spread["wire_bps_per_peer"] == (8e9 / 3, 8e9)


def test_json_has_the_names_of_the_contract() -> None:
    document = report.Document(machine=machine.fingerprint(), results=(_result("tapestry", 1.0),))
    parsed = json.loads(report.to_json(document))
    setup = {"engine", "codec", "peers", "mb", "rounds"}
    figures = {"form_s", "data_s", "cpu_s_per_peer", "wire_bytes_per_peer", "rss_extra_bytes"}
    assert setup | figures | {"spread"} <= parsed["results"][0].keys()
    assert figures <= parsed["results"][0]["spread"].keys()
    assert parsed["results"][0]["spread"]["form_s"] == [0.1, 0.1]


def test_table_shows_ratios_against_ours() -> None:
    text = io.StringIO()
    Console(file=text, width=160).print(report.table([_result("tapestry", 1.0), _result("hivemind", 4.0)]))
    assert "4.0x ours" in text.getvalue()
    assert "[4.00-4.00]" in text.getvalue()


def test_fingerprint_names_no_host_and_no_path() -> None:
    text = report.to_json(report.Document(machine=machine.fingerprint(), results=()))
    assert platform.node() == "" or f'"{platform.node()}"' not in text
    assert os.getcwd() not in text
    assert machine.fingerprint().packages.keys() >= {"torch", "hivemind"}


def test_memory_that_is_not_there_is_a_usage_error() -> None:
    check_memory(peers=4, mb=128, available_bytes=8_000_000_000)
    with pytest.raises(UsageError, match="take fewer peers or a smaller --mb"):
        check_memory(peers=4, mb=128, available_bytes=1_000_000_000)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--peers", "1"],
        ["--peers", "65"],
        ["--mb", "0"],
        ["--rounds", "0"],
        ["--codec", "int7"],
        ["--baseline", "nccl"],
        ["--mb", "many"],
    ],
)
def test_bad_numbers_exit_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["allreduce", *arguments]).exit_code == 2


def test_more_memory_than_the_machine_has_is_refused_before_anything_starts() -> None:
    outcome = CliRunner().invoke(app, ["allreduce", "--peers", "64", "--mb", "1000000"])
    assert isinstance(outcome.exception, UsageError)


def test_every_engine_answers_every_codec_the_command_line_offers() -> None:
    for engine in ENGINES.values():
        assert engine.codecs.keys() == {"int8", "int4", "bfloat16", "float32", "secagg16"}
