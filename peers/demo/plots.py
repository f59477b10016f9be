"""The pilot's plots as PNG bytes, each for a light and a dark page.

Every plot is drawn narrow (5 inches) with type to match, so that it stays legible on a phone. Regions have
the same colour everywhere; the Shared Base is drawn in the text's own colour. A plot whose data is absent is
not drawn.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from peers.demo.result import Result
from peers.demo.summary import (
    LANGUAGE_NAMES,
    averages,
    joined_in_round,
    killed_before_round,
    peer_names,
    region_names,
)

_WIDTH_IN = 5.0
_DPI = 220


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours of a page. `series` keeps its hues apart for the colour-blind (after Okabe and Ito)."""

    background: str
    ink: str
    muted: str
    grid: str
    neutral: str
    series: tuple[str, ...]


LIGHT = Theme(
    background="#ffffff",
    ink="#1c1f24",
    muted="#5d6470",
    grid="#e3e6ea",
    neutral="#c3c8d0",
    series=("#0072b2", "#d55e00", "#009e73", "#b8609a", "#e69f00", "#4d9fd6", "#7a6a00"),
)
DARK = Theme(
    background="#1a1d22",
    ink="#eceef1",
    muted="#a0a7b2",
    grid="#31363e",
    neutral="#565d68",
    series=("#4ba3e3", "#f0803c", "#2fc49a", "#d98bbf", "#f2bb4b", "#8cc8f0", "#c9b94a"),
)


def draw(result: Result, theme: Theme) -> dict[str, bytes]:
    """PNG files by name without suffix: `bits_per_byte`, `loss`, `rounds`, `bytes_sent`."""
    painters: dict[str, tuple[bool, Callable[[Result, Theme], Figure]]] = {
        "bits_per_byte": (averages(result) is not None, _bits_per_byte),
        "loss": (any(result.loss.values()), _loss),
        "rounds": (bool(result.rounds), _rounds),
        "bytes_sent": (any(map(bool, result.bytes_sent.values())), _bytes_sent),
    }
    with mpl.rc_context(_style(theme)):
        return {name: _png(paint(result, theme)) for name, (has_data, paint) in painters.items() if has_data}


def _style(theme: Theme) -> dict[Any, Any]:
    return {
        "figure.facecolor": theme.background,
        "savefig.facecolor": theme.background,
        "axes.facecolor": theme.background,
        "axes.edgecolor": theme.grid,
        "axes.labelcolor": theme.muted,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "grid.color": theme.grid,
        "grid.linewidth": 0.8,
        "text.color": theme.ink,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "font.size": 9.5,
        "axes.labelsize": 9,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.fontsize": 8.5,
        "legend.frameon": False,
        "text.parse_math": False,
    }


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    # Without the software's name the same result gives the same bytes on every version.
    figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()


def _figure(height_in: float) -> Figure:
    return Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    """One legend above the plot, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, handlelength=1.2, columnspacing=1.4)


def _colours(result: Result, theme: Theme) -> dict[str, str]:
    """Region to colour."""
    return {region: theme.series[number % len(theme.series)] for number, region in enumerate(region_names(result))}


def _bits_per_byte(result: Result, theme: Theme) -> Figure:
    """A group of horizontal bars per language and one for the average; the best region alone is outlined."""
    mean = averages(result)
    assert mean is not None
    colours = _colours(result, theme)
    groups = [("Average", mean.untrained, mean.alone, mean.shared)]
    for language, score in result.bits_per_byte.items():
        groups.append((LANGUAGE_NAMES.get(language, language), score.untrained, score.alone, score.shared))
    names = ["untrained", *(f"{region} alone" for region in mean.alone), "Shared Base"]
    fills = [theme.neutral, *(colours.get(region, theme.muted) for region in mean.alone), theme.ink]
    pitch = len(names) + 1.2

    figure = _figure(1.0 + 0.15 * pitch * len(groups))
    axes = figure.subplots()
    for place, (name, fill) in enumerate(zip(names, fills, strict=True)):
        values = [[untrained, *alone.values(), shared][place] for _, untrained, alone, shared in groups]
        heights = [group * pitch + place for group in range(len(groups))]
        bars = axes.barh(heights, values, height=0.86, color=fill, label=name)
        for bar, value, (_, _, alone, _) in zip(bars, values, groups, strict=True):
            is_shared = place == len(names) - 1
            is_best = 0 < place < len(names) - 1 and value == min(alone.values())
            middle = bar.get_y() + bar.get_height() / 2
            if is_best:
                # Drawn over the bar, so that the legend's patch stays without an outline.
                axes.barh(middle, value, height=0.86, fill=False, edgecolor=theme.ink, linewidth=1.2)
            axes.annotate(
                f"{value:.2f}",
                (value, middle),
                xytext=(3, 0),
                textcoords="offset points",
                va="center_baseline",
                fontsize=7.5,
                fontweight="bold" if is_shared else "normal",
                color=theme.ink if is_shared or is_best else theme.muted,
            )
    centre = (len(names) - 1) / 2
    axes.set_yticks([group * pitch + centre for group in range(len(groups))], [name for name, *_ in groups])
    for label in axes.get_yticklabels():
        label.set_color(theme.ink)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.axhline(pitch - 1.1, color=theme.muted, linewidth=0.8)
    axes.invert_yaxis()
    axes.margins(x=0.09, y=0.01)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("held-out bits per byte; lower is better\n(outlined: best region alone)")
    _legend(figure, axes, columns=3)
    return figure


def _loss(result: Result, theme: Theme) -> Figure:
    """Training loss of every peer over the rounds; below it the Shared Base's held-out curve, if any."""
    curve = result.held_out_curve
    figure = _figure(4.6 if curve else 3.1)
    panels = figure.subplots(2 if curve else 1, 1, sharex=True, squeeze=False)[:, 0]
    axes = panels[0]
    colours = _colours(result, theme)
    for peer, name in peer_names(result).items():
        points = result.loss.get(peer, ())
        if not points:
            continue
        rounds, losses = zip(*points, strict=True)
        colour = colours[result.regions[peer]]
        late = peer == result.joined
        axes.plot(
            rounds,
            losses,
            color=colour,
            linewidth=1.8,
            linestyle=(0, (4, 1.5)) if late else "-",
            marker="o" if len(points) == 1 or late else "",
            markersize=3.5,
            label=name + (" (killed)" if peer == result.killed else " (joined late)" if late else ""),
        )
        if peer == result.killed:
            axes.plot(
                rounds[-1],
                losses[-1],
                marker="X",
                markersize=9,
                color=colour,
                markeredgecolor=theme.background,
            )
    axes.set_ylabel("training loss\n(nats per byte)")
    if curve:
        rounds, bits = zip(*curve, strict=True)
        panels[1].plot(rounds, bits, color=theme.ink, linewidth=1.8, marker="o", markersize=3)
        panels[1].set_ylabel("Shared Base, held-out\n(mean bits per byte)")
    panels[-1].set_xlabel("round")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, axes, columns=2)
    return figure


def _rounds(result: Result, theme: Theme) -> Figure:
    """Seconds per round by phase, the number of averaged updates above, kill and join between rounds."""
    records = result.rounds
    figure = _figure(3.1)
    axes = figure.subplots()
    numbers = [record.round for record in records]
    forming = [record.form_s for record in records]
    reducing = [record.reduce_s for record in records]
    rest = [max(0.0, record.seconds - record.form_s - record.reduce_s) for record in records]
    starts_of_reduce = [a + b for a, b in zip(rest, forming, strict=True)]
    axes.bar(numbers, rest, width=0.8, color=theme.neutral, label="vote, outer step, save")
    axes.bar(numbers, forming, bottom=rest, width=0.8, color=theme.series[4], label="finding each other")
    axes.bar(numbers, reducing, bottom=starts_of_reduce, width=0.8, color=theme.series[0], label="all-reduce")
    tops = [max(record.seconds, record.form_s + record.reduce_s) for record in records]
    step = max(1, len(records) // 24)
    for record, top in list(zip(records, tops, strict=True))[::step]:
        retry = f"\n(try {record.attempt})" if record.attempt > 1 else ""
        axes.annotate(
            f"{len(record.contributors)}{retry}",
            (record.round, top),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
            color=theme.muted,
        )
    ceiling = max(tops) * 1.35 or 1.0
    for number, text, aside in (
        (killed_before_round(result), "peer killed", "right"),
        (joined_in_round(result), "peer joined", "left"),
    ):
        if number is not None:
            axes.axvline(number - 0.5, color=theme.ink, linewidth=1.2, linestyle=(0, (3, 2)))
            axes.annotate(
                text,
                (number - 0.5, ceiling),
                xytext=(-4 if aside == "right" else 4, -9),
                textcoords="offset points",
                ha=aside,
                fontsize=8.5,
                fontweight="bold",
            )
    axes.set_ylim(0, ceiling)
    axes.set_xlim(min(numbers) - 0.7, max(numbers) + 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("round (above each bar: how many updates were averaged)")
    axes.set_ylabel("seconds")
    _legend(figure, axes, columns=3)
    return figure


def _bytes_sent(result: Result, theme: Theme) -> Figure:
    """One bar per peer, stacked by kind, largest kind first."""
    names = peer_names(result)
    peers = list(result.bytes_sent)
    totals: dict[str, int] = {}
    for kinds in result.bytes_sent.values():
        for kind, size in kinds.items():
            totals[kind] = totals.get(kind, 0) + size
    figure = _figure(1.2 + 0.42 * len(peers))
    axes = figure.subplots()
    left = [0.0] * len(peers)
    for number, kind in enumerate(sorted(totals, key=totals.__getitem__, reverse=True)):
        sizes = [result.bytes_sent[peer].get(kind, 0) / 1e6 for peer in peers]
        colour = theme.series[number] if number < len(theme.series) else theme.neutral
        axes.barh(range(len(peers)), sizes, left=left, height=0.62, color=colour, label=kind)
        left = [a + b for a, b in zip(left, sizes, strict=True)]
    for row, total in enumerate(left):
        axes.annotate(
            f"{total:.1f} MB",
            (total, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=8.5,
        )
    labels: Sequence[str] = [
        names.get(peer, f"…{peer[-6:]}").replace(" …", "\n…") + (" (killed)" if peer == result.killed else "")
        for peer in peers
    ]
    axes.set_yticks(range(len(peers)), labels)
    for label in axes.get_yticklabels():
        label.set_color(theme.ink)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("megabytes sent, by kind of message")
    _legend(figure, axes, columns=4)
    return figure
