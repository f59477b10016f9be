"""The document of `tapestry bench curves`: JSON for machines, a table for people. No training, no plotting.

Every difference is paired: the same seed, so the same initial weights and the same batches, sent as float32.
"""

from collections.abc import Sequence
from statistics import mean

import msgspec
from rich.table import Table

from benchmarks.curves_setup import BAR_PERCENT, NUDGED, REFERENCE, Point, Setup, Variant
from benchmarks.machine import Machine


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    variant: str
    seed: int
    points: tuple[Point, ...]
    cpu_s: float
    """User and system seconds of the run."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One way of sending, over all seeds in order; losses are held-out bits per byte after the last round."""

    variant: Variant
    bytes_per_element: float
    bits_per_byte: tuple[float, ...]
    difference_percent: tuple[float, ...]
    """From float32 with the same seed; positive is worse."""
    mean_difference_percent: float
    worst_difference_percent: float
    """The one farthest from zero, with its sign."""
    bar_percent: float | None
    """What the difference has to stay within for every seed, if there is a bar for this variant."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    machine: Machine
    command: str
    rounds: int
    seeds: tuple[int, ...]
    parameters: int
    setup: Setup
    corpus: str
    float32_spread_percent: float
    """Between the best and the worst seed of float32, of their mean."""
    nudge_percent: float
    """Largest difference, either way, that one unit in the last place of one update made: less means nothing."""
    results: tuple[Result, ...]
    curves: tuple[Curve, ...]


def result(variant: Variant, curves: Sequence[Curve], bytes_per_element: float) -> Result:
    """Compares one variant's final losses with float32's; `curves` holds both, each with the same seeds."""
    final = final_losses(curves, variant.name)
    reference = final_losses(curves, REFERENCE)
    assert final.keys() == reference.keys(), (final, reference)
    differences = tuple(100 * (final[seed] / reference[seed] - 1) for seed in sorted(final))
    return Result(
        variant=variant,
        bytes_per_element=bytes_per_element,
        bits_per_byte=tuple(final[seed] for seed in sorted(final)),
        difference_percent=differences,
        mean_difference_percent=mean(differences),
        worst_difference_percent=max(differences, key=abs),
        bar_percent=BAR_PERCENT.get(variant.name),
    )


def final_losses(curves: Sequence[Curve], variant: str) -> dict[int, float]:
    """By seed, the last point of a variant's curves."""
    return {curve.seed: curve.points[-1][1] for curve in curves if curve.variant == variant}


def spread_percent(losses: Sequence[float]) -> float:
    """From least to greatest, of the mean."""
    return 100 * (max(losses) - min(losses)) / mean(losses)


def nudge_percent(results: Sequence[Result]) -> float:
    return next(abs(one.worst_difference_percent) for one in results if one.variant.name == NUDGED)


def to_json(document: Document) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def table(document: Document) -> Table:
    """One row per way of sending. Fits 100 characters."""
    grid = Table(
        title=f"held-out bits per byte after {document.rounds} rounds, paired with float32",
        caption=(
            f"float32 differs by {document.float32_spread_percent:.2f} % between seeds, "
            f"and by up to {document.nudge_percent:.1g} % after a change of one unit in the last place"
        ),
    )
    for title in ("sent as", "bytes each", "bits per byte, by seed", "mean %", "worst %", "bar"):
        grid.add_column(title, justify="left" if title == "sent as" else "right", no_wrap=title == "sent as")
    for one in document.results:
        is_reference = one.variant.name == REFERENCE
        grid.add_row(
            one.variant.name,
            f"{one.bytes_per_element:.3f}",
            "  ".join(f"{loss:.4f}" for loss in one.bits_per_byte),
            "" if is_reference else f"{one.mean_difference_percent:+.3f}",
            "" if is_reference else f"{one.worst_difference_percent:+.3f}",
            "" if one.bar_percent is None else f"{one.bar_percent} {'kept' if _is_kept(one) else 'MISSED'}",
        )
    return grid


def _is_kept(one: Result) -> bool:
    return one.bar_percent is not None and abs(one.worst_difference_percent) <= one.bar_percent
