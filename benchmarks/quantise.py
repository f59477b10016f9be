"""Measures codecs side by side: `tapestry bench quantise`.

All contestants work on the same Gaussian vector, chunk by chunk, on one thread, and take turns: repetition by
repetition, so that a slow minute of the machine falls on all of them. A first turn, not counted, loads code, grows
memory pools and gives error and size.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.machine import fingerprint
from benchmarks.quantise_contestants import CHUNK_ELEMENTS, Contestant, Entry, entries
from benchmarks.quantise_report import Absent, Document, Result
from swarm.clock import process_s
from swarm.vector.grid import Grid, Vector

REPETITIONS = 7
_SEED = 0
_ELEMENTS_PER_MB = 250_000
_BYTES_PER_GB = 1e9
_COMPETITOR_ERRORS = (ImportError, OSError, RuntimeError, TypeError, ValueError, AttributeError, AssertionError)
"""What a library may raise that is missing, or does not go with the versions of others installed here."""

Say = Callable[[str], None]


@dataclass(slots=True)
class _Trial:
    """One contestant with what was measured of it."""

    codec: str
    contestant: Contestant[Any]
    rms_error: float
    bytes_per_element: float
    quantise_gb_s: list[float] = field(default_factory=list[float])
    dequantise_gb_s: list[float] = field(default_factory=list[float])


def run(mb: int, say: Say, contestants: Sequence[Entry] | None = None, repetitions: int = REPETITIONS) -> Document:
    """Measures every contestant on `mb` x 10^6 bytes of float32; `say` gets progress lines."""
    machine = fingerprint()
    vector_N = np.random.default_rng(_SEED).standard_normal(mb * _ELEMENTS_PER_MB, np.float32)
    # for the OpenMP of libraries that are loaded only now; torch's own is already here
    os.environ["OMP_NUM_THREADS"] = "1"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trials, absent = _first_turn(entries() if contestants is None else contestants, vector_N, say)
        for repetition in range(repetitions):
            say(f"repetition {repetition + 1} of {repetitions}")
            for trial in trials:
                _turn(trial, vector_N)
    finally:
        torch.set_num_threads(threads)
    return Document(
        machine=machine,
        mb=mb,
        chunk_elements=CHUNK_ELEMENTS,
        repetitions=repetitions,
        results=tuple(_result(trial) for trial in trials),
        absent=tuple(absent),
    )


def _first_turn(contestants: Sequence[Entry], vector_N: Vector, say: Say) -> tuple[list[_Trial], list[Absent]]:
    """Loads every contestant and takes its error and size; one that fails here is absent from then on."""
    trials: list[_Trial] = []
    absent: list[Absent] = []
    for entry in contestants:
        say(f"loading {entry.codec}")
        try:
            trials.append(_judged(entry.codec, entry.load(), vector_N))
        except _COMPETITOR_ERRORS as error:
            cause = f"{type(error).__name__}: {error}".splitlines()[0]
            say(f"{entry.codec} is absent: {cause}")
            absent.append(Absent(codec=entry.codec, cause=cause))
    return trials, absent


def _judged(codec: str, contestant: Contestant[Any], vector_N: Vector) -> _Trial:
    error_square = sent_bytes = 0.0
    for chunk_n in _chunks(vector_N):
        encoded = contestant.quantise(chunk_n)
        sent_bytes += contestant.encoded_bytes(encoded)
        error_n = contestant.dequantise(encoded, chunk_n.size) - chunk_n
        error_square += float(np.dot(error_n, error_n))
    return _Trial(
        codec=codec,
        contestant=contestant,
        rms_error=math.sqrt(error_square / float(np.dot(vector_N, vector_N))),
        bytes_per_element=sent_bytes / vector_N.size,
    )


def _turn(trial: _Trial, vector_N: Vector) -> None:
    """Quantises and dequantises chunk by chunk, as a peer does: no encoding outlives its chunk."""
    quantise_s = dequantise_s = 0.0
    for chunk_n in _chunks(vector_N):
        started_s = process_s()
        encoded = trial.contestant.quantise(chunk_n)
        quantised_s = process_s()
        trial.contestant.dequantise(encoded, chunk_n.size)
        quantise_s += quantised_s - started_s
        dequantise_s += process_s() - quantised_s
    gigabytes = vector_N.nbytes / _BYTES_PER_GB
    trial.quantise_gb_s.append(gigabytes / quantise_s)
    trial.dequantise_gb_s.append(gigabytes / dequantise_s)


def _chunks(vector_N: Vector) -> list[Vector]:
    grid = Grid(vector_N.size, CHUNK_ELEMENTS)
    return [vector_N[grid.bounds(chunk)] for chunk in range(grid.chunks)]


def _result(trial: _Trial) -> Result:
    columns = {"quantise_gb_s": trial.quantise_gb_s, "dequantise_gb_s": trial.dequantise_gb_s}
    return Result(
        codec=trial.codec,
        quantise_gb_s=median(trial.quantise_gb_s),
        dequantise_gb_s=median(trial.dequantise_gb_s),
        rms_error=trial.rms_error,
        bytes_per_element=trial.bytes_per_element,
        spread={name: (min(values), max(values)) for name, values in columns.items()},
    )
