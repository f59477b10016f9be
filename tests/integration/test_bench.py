"""`tapestry bench allreduce` typed by hand: two real peers with a libp2p daemon each, our engine only."""

import json
import subprocess
import sys

_COMMAND = [sys.executable, "-c", "from peers.cli import main; main()", "bench", "allreduce"]
_ELEMENT_BYTES = 4
_MB = 1_000_000
_FIGURES = {"form_s", "data_s", "cpu_s_per_peer", "wire_bytes_per_peer", "rss_extra_bytes"}


def test_two_peers_average_with_the_whole_protocol() -> None:
    arguments = ["--peers", "2", "--mb", "4", "--rounds", "2", "--json"]
    done = subprocess.run([*_COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr

    document = json.loads(done.stdout)
    assert document["machine"]["cores"] >= 1
    (result,) = document["results"]
    named = {key: result[key] for key in ("engine", "codec", "peers", "mb", "rounds", "incomplete_rounds")}
    assert named == {
        "engine": "tapestry",
        "codec": "int8",
        "peers": 2,
        "mb": 4,
        "rounds": 2,
        "incomplete_rounds": 0,
    }
    for figure in _FIGURES:
        least, greatest = result["spread"][figure]
        assert 0 < least <= result[figure] <= greatest, figure
    # Two quantisations and what error feedback carries over cost about 1.4 %; a vector nobody averaged is off by 100 %.
    assert 0.001 < result["rms_error"] < 0.03
    # A peer of two sends half its codes and half the result: one byte per element, a scale per block, little else.
    codes_bytes = 4 * _MB / _ELEMENT_BYTES
    assert codes_bytes < result["wire_bytes_per_peer"] < 1.2 * codes_bytes
