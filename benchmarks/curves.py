"""`tapestry bench curves`: what coarse codecs cost in training, not in arithmetic.

One small training per way of sending and seed, one after the other in this process, then a comparison with float32.
Real text and the rounds' real arithmetic, no network: how fast a round is has nothing to do with what it adds up to.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks import curves_plot, curves_report
from benchmarks.curves_report import Curve, Document
from benchmarks.curves_setup import CODECS, REFERENCE, CodecName, Point, Setup, Variant, variants
from benchmarks.curves_texts import Texts, write_texts
from benchmarks.curves_training import initial_base, train
from benchmarks.machine import fingerprint
from peers.corpus.corpus import default_cache, prepare
from swarm.vector.codec import make_codec

Say = Callable[[str], None]

JSON_NAME, PLOT_NAME = "curves.json", "curves.png"
_TELL_EVERY_ROUNDS = 50


def run(codecs: Sequence[CodecName], *, seeds: int, rounds: int, say: Say) -> Document:
    """Trains every variant with every seed, seed by seed.

    Raises:
        DataError: no text can be had.
    """
    machine = fingerprint()
    setup = Setup()
    torch.set_num_threads(1)  # one core, and the same bits each time
    corpus = prepare(default_cache(), say)
    chosen = variants(codecs)
    numbers = tuple(range(1, seeds + 1))
    with tempfile.TemporaryDirectory(prefix="tapestry-curves-") as folder:
        texts = write_texts(corpus, setup, Path(folder))
        curves = tuple(
            _curve(setup, texts, variant, seed=seed, rounds=rounds, say=say) for seed in numbers for variant in chosen
        )
    results = tuple(curves_report.result(variant, curves, _bytes_per_element(setup, variant)) for variant in chosen)
    return Document(
        machine=machine,
        command=command(codecs, seeds=seeds, rounds=rounds),
        rounds=rounds,
        seeds=numbers,
        parameters=initial_base(setup, numbers[0]).size,
        setup=setup,
        corpus=corpus.source,
        float32_spread_percent=curves_report.spread_percent(
            list(curves_report.final_losses(curves, REFERENCE).values())
        ),
        nudge_percent=curves_report.nudge_percent(results),
        results=results,
        curves=curves,
    )


def command(codecs: Sequence[CodecName], *, seeds: int, rounds: int) -> str:
    """What to type for the same figures; where they are written to changes none of them."""
    named = "" if set(codecs) == set(CODECS) else "".join(f" --codec {codec}" for codec in codecs)
    return f"tapestry bench curves{named} --seeds {seeds} --rounds {rounds}"


def save(document: Document, folder: Path) -> None:
    """Writes the JSON and the plot."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON_NAME).write_text(curves_report.to_json(document) + "\n", encoding="utf-8")
    (folder / PLOT_NAME).write_bytes(curves_plot.draw(document))


def _curve(setup: Setup, texts: Texts, variant: Variant, *, seed: int, rounds: int, say: Say) -> Curve:
    def tell(point: Point) -> None:
        number, loss = point
        if number % _TELL_EVERY_ROUNDS == 0 or number == rounds:
            say(f"seed {seed}, {variant.name}: round {number} of {rounds}, {loss:.4f} bits per byte")

    before_s = _cpu_s()
    points = train(setup, texts, variant, seed=seed, rounds=rounds, on_point=tell)
    return Curve(variant=variant.name, seed=seed, points=points, cpu_s=_cpu_s() - before_s)


def _bytes_per_element(setup: Setup, variant: Variant) -> float:
    codec = make_codec(variant.codec, variant.block_elements)
    return codec.encoded_bytes(setup.chunk_elements) / setup.chunk_elements


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system
