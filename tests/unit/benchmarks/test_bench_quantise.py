"""`tapestry bench quantise`: the document's names, what is absent, and figures that can be checked."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import quantise, quantise_contestants, quantise_report
from benchmarks.cli import app
from benchmarks.quantise_contestants import Entry, OurCodec
from swarm.vector.grid import Vector


class Halver:
    """Loses half of every value; a value costs eight bytes."""

    def quantise(self, values_N: Vector) -> Vector:
        return values_N / np.float32(2)

    def dequantise(self, encoded: Vector, elements: int) -> Vector:
        assert encoded.size == elements
        return encoded

    def encoded_bytes(self, encoded: Vector) -> int:
        return 8 * encoded.size


def _missing() -> Halver:
    raise ImportError("No module named 'imaginary'\nand more")


def _document() -> quantise_report.Document:
    entries = (Entry("halver", Halver), Entry("missing", _missing), Entry("int8", lambda: OurCodec("int8", 128)))
    return quantise.run(2, lambda line: None, entries, repetitions=3)


def test_figures_follow_from_the_codec() -> None:
    halver, int8 = _document().results
    assert halver.codec == "halver" and halver.bytes_per_element == 8
    assert halver.rms_error == pytest.approx(0.5, rel=1e-4)
    assert int8.bytes_per_element == pytest.approx(1 + 2 / 128, rel=1e-4)
    assert 0.006 < int8.rms_error < 0.007
    for one in (halver, int8):
        for name in ("quantise_gb_s", "dequantise_gb_s"):
            least, greatest = one.spread[name]
            assert 0 < least <= getattr(one, name) <= greatest


def test_a_missing_competitor_is_named_with_its_cause() -> None:
    said: list[str] = []
    document = quantise.run(1, said.append, (Entry("missing", _missing),), repetitions=1)
    assert document.results == ()
    assert [(one.codec, one.cause) for one in document.absent] == [
        ("missing", "ImportError: No module named 'imaginary'")
    ]
    assert any("missing is absent" in line for line in said)
    text = io.StringIO()
    Console(file=text, width=80).print(quantise_report.table(document))
    assert "missing is absent: ImportError" in text.getvalue()


def test_the_table_fits_a_terminal() -> None:
    text = io.StringIO()
    Console(file=text, width=80).print(quantise_report.table(_document()))
    assert "halver" in text.getvalue() and "50.00" in text.getvalue()
    assert all(len(line) <= 80 for line in text.getvalue().splitlines())


def test_our_codecs_and_all_competitors_take_part() -> None:
    codecs = [entry.codec for entry in quantise_contestants.entries()]
    assert codecs[:4] == ["float32", "bfloat16", "int8", "int4"]
    assert codecs[4:] == ["hivemind uniform", "hivemind quantile", "hivemind blockwise", "bitsandbytes"]


def test_json_has_the_names_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantise, "entries", lambda: quantise_contestants.entries()[:4])
    done = CliRunner().invoke(app, ["quantise", "--mb", "1", "--json"])
    assert done.exit_code == 0, done.output
    parsed = json.loads(done.stdout)
    assert {"machine", "results", "absent"} <= parsed.keys()
    names = {"codec", "quantise_gb_s", "dequantise_gb_s", "rms_error", "bytes_per_element", "spread"}
    assert all(names <= result.keys() for result in parsed["results"])
    assert [result["codec"] for result in parsed["results"]] == ["float32", "bfloat16", "int8", "int4"]
    assert "repetition 1 of 7" in done.stderr


def test_competitors_run_or_say_why_not() -> None:
    # in a process of its own: the libraries warn at import, and read the number of threads there
    command = [sys.executable, "-c", "from peers.cli import main; main()", "bench", "quantise", "--mb", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    competitors = document["results"][4:]
    assert len(competitors) + len(document["absent"]) == 4
    for one in competitors:
        assert 0.005 < one["rms_error"] < 0.05 and 1 <= one["bytes_per_element"] < 1.1
