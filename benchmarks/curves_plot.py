"""The plot of `tapestry bench curves`, as PNG bytes. Draws a finished document; computes nothing but differences.

Above: every curve, mean of the seeds; on this scale they may lie on one another. Below: the paired difference from
float32, one thin line per seed and the mean thick. The light band is float32's own spread, from its best to its worst
seed, around their mean; the dark one how far one unit in the last place of one update has carried float32 from itself
by then, in any seed.
"""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.curves_report import Curve, Document
from benchmarks.curves_setup import BAR_PERCENT, NUDGED, REFERENCE

_WIDTH_IN, _HEIGHT_IN, _DPI = 7.2, 7.6, 160
_INK, _MUTED, _GRID, _SPREAD = "#1c1f24", "#5d6470", "#e3e6ea", "#eef0f2"
# Okabe and Ito's hues, which the colour-blind can tell apart; a codec keeps its hue, without feedback it is dashed.
_HUES = {"float32": _INK, "bfloat16": "#009e73", "int8": "#0072b2", "int4": "#d55e00"}
_LINEAR_PERCENT = 0.1
"""Differences are drawn to scale up to here, and beyond it by their logarithm: so the bars fit in."""
_TICKS_PERCENT = (0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def draw(document: Document) -> bytes:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), layout="constrained")
        losses, differences = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.25))
        _draw_losses(losses, document)
        _draw_differences(differences, document)
        handles, labels = losses.get_legend_handles_labels()
        bands, meanings = differences.get_legend_handles_labels()
        figure.legend(
            [*handles, *bands],
            [*labels, *meanings],
            loc="outside upper left",
            ncols=4,
            handlelength=1.8,
            columnspacing=1.4,
        )
        out = io.BytesIO()
        # Without the software's name the same document gives the same bytes on every version.
        figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()


def _draw_losses(axes: Axes, document: Document) -> None:
    for one in document.results:
        if one.variant.is_nudged:
            continue
        rounds, losses_SR = _losses(document.curves, one.variant.name)
        axes.plot(
            rounds, _means(losses_SR), label=one.variant.name, **_line(one.variant.codec, one.variant.has_feedback)
        )
    axes.set_ylabel("held-out bits per byte\n(mean of the seeds)")


def _draw_differences(axes: Axes, document: Document) -> None:
    rounds, reference_SR = _losses(document.curves, REFERENCE)
    _, nudged_SR = _losses(document.curves, NUDGED)
    reach = _highest([[abs(value) for value in row] for row in _differences(nudged_SR, reference_SR)])
    means_R = _means(reference_SR)
    spread_SR = _differences(reference_SR, [means_R] * len(reference_SR))
    axes.fill_between(
        rounds, _lowest(spread_SR), _highest(spread_SR), color=_SPREAD, linewidth=0, label="float32's seeds"
    )
    axes.fill_between(rounds, [-value for value in reach], reach, color=_MUTED, label="float32 after one ulp")
    for one in document.results:
        if one.variant.codec == REFERENCE:
            continue
        _, losses_SR = _losses(document.curves, one.variant.name)
        differences_SR = _differences(losses_SR, reference_SR)
        style = _line(one.variant.codec, one.variant.has_feedback)
        thin = style.copy()
        thin.update(linewidth=0.6, alpha=0.5)
        for difference_R in differences_SR:
            axes.plot(rounds, difference_R, **thin)
        axes.plot(rounds, _means(differences_SR), **style)
        bar = BAR_PERCENT.get(one.variant.name)
        if bar is not None:
            for edge in (-bar, bar):
                axes.axhline(edge, color=_HUES[one.variant.codec], linewidth=0.9, linestyle=":")
    axes.set_yscale("symlog", linthresh=_LINEAR_PERCENT, linscale=1.5)
    reach_percent = max(map(abs, axes.get_ylim()))
    ticks = [tick for tick in _TICKS_PERCENT if tick <= reach_percent]
    ticks = [*(-tick for tick in reversed(ticks)), 0.0, *ticks]
    axes.set_yticks(ticks, [f"{tick:+g}" if tick else "0" for tick in ticks], minor=False)
    axes.set_yticks([], minor=True)
    axes.set_ylabel("difference from float32, per cent\n(positive is worse; dotted: the bars)")
    axes.set_xlabel(f"round, {document.setup.inner_steps} inner steps each")


def _losses(curves: Sequence[Curve], variant: str) -> tuple[list[int], list[list[float]]]:
    """The rounds of a variant's points, and its losses [S seeds][R points]."""
    chosen = [curve.points for curve in curves if curve.variant == variant]
    return [number for number, _ in chosen[0]], [[loss for _, loss in points] for points in chosen]


def _differences(losses_SR: list[list[float]], reference_SR: list[list[float]]) -> list[list[float]]:
    """Per cent, seed by seed."""
    return [
        [100 * (loss / reference - 1) for loss, reference in zip(losses_R, reference_R, strict=True)]
        for losses_R, reference_R in zip(losses_SR, reference_SR, strict=True)
    ]


def _means(values_SR: list[list[float]]) -> list[float]:
    return [sum(column) / len(column) for column in zip(*values_SR, strict=True)]


def _lowest(values_SR: list[list[float]]) -> list[float]:
    return [min(column) for column in zip(*values_SR, strict=True)]


def _highest(values_SR: list[list[float]]) -> list[float]:
    return [max(column) for column in zip(*values_SR, strict=True)]


def _line(codec: str, has_feedback: bool) -> dict[str, Any]:
    return {"color": _HUES[codec], "linewidth": 1.7, "linestyle": "-" if has_feedback else (0, (4, 1.5))}


_STYLE: dict[Any, Any] = {
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": _GRID,
    "text.color": _INK,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "font.size": 9.5,
    "legend.frameon": False,
    "text.parse_math": False,
}
