"""Where the regions' own models come from, as an inline SVG: state 0, who gave updates, the Shared Base, every stage.

Drawn from what the signed statements say. Narrow, so that it stays legible on a phone; colours are the page's own and
the regions', each for a light and a dark page. Loads nothing and runs nothing.
"""

from collections.abc import Sequence
from html import escape

from peers.demo.page import Html
from peers.demo.plots import DARK, LIGHT
from peers.demo.sovereign_result import LineageStage, OwnLineage, Sovereign

STAGE_NAMES = {"cpt": "Private CPT", "sft": "SFT", "dpo": "DPO"}
_WIDTH, _EDGE, _GAP = 360, 4, 8
_LINE, _PAD, _ARROW = 13, 6, 22
_DIGITS = 12


def draw(sovereign: Sovereign, regions: Sequence[str]) -> Html:
    """A figure; empty if no region has a model. `regions` are in the order that gives each its colour."""
    known = {region: model.lineage for region, model in sovereign.models.items() if model.lineage is not None}
    if not known:
        return Html("")
    some = next(iter(known.values()))
    picture = _Picture()
    columns = _columns([region for region in regions if region in sovereign.models])
    zero = [("b", "State 0"), ("m", "fixed by the charter"), ("c", sovereign.state_zero[:_DIGITS])]
    picture.bar("base", zero)
    picture.arrows(columns, regions)
    picture.boxes(columns, regions, {region: _given(some, region) for region in columns})
    picture.arrows(columns, regions)
    records = f"{some.records} of {some.round} commit records verified"
    picture.bar("base", [("b", f"Shared Base of round {some.round}"), ("m", records), ("c", some.state[:_DIGITS])])
    columns = {region: place for region, place in columns.items() if region in known}
    for number in range(max(len(lineage.stages) for lineage in known.values())):
        there = {region: place for region, place in columns.items() if number < len(known[region].stages)}
        picture.arrows(there, regions)
        picture.boxes(there, regions, {region: _stage(known[region].stages[number]) for region in there})
    picture.arrows(columns, regions)
    picture.boxes(columns, regions, {region: _model(region, known[region]) for region in columns}, css="model")
    return Html(f"<figure>{picture.svg(_in_words(sovereign, some))}</figure>")


_Lines = list[tuple[str, str]]
"""A style each (b bold, m muted, c code) and its text."""


def _given(lineage: OwnLineage, region: str) -> _Lines:
    members = len(lineage.members.get(region, ()))
    who = "1 member" if members == 1 else f"{members} members"
    return [("b", region), ("m", who), ("m", f"{lineage.contributed.get(region, 0)} updates")]


def _stage(stage: LineageStage) -> _Lines:
    how = "adapter" if stage.method == "lora" else "all weights"
    labels = sorted(set(stage.labels))
    data = f"{len(stage.labels)} {' and '.join(labels)} sets"
    return [("b", STAGE_NAMES.get(stage.name, stage.name)), ("m", how), ("m", data), ("c", stage.result[:_DIGITS])]


def _model(region: str, lineage: OwnLineage) -> _Lines:
    return [("b", region), ("m", "Sovereign Model"), ("m", f"signed …{lineage.signer[-6:]}"), ("g", "verified")]


def _in_words(sovereign: Sovereign, some: OwnLineage) -> str:
    stages = "; ".join(
        f"{region}: {', '.join(stage.name for stage in model.lineage.stages)}"
        for region, model in sovereign.models.items()
        if model.lineage is not None
    )
    return (
        f"From state 0 through {sum(some.contributed.values())} updates of {len(some.contributed)} regions to the "
        f"Shared Base of round {some.round}, and from there to each region's own model: {stages}"
    )


def _columns(regions: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Left edge and width by region."""
    width = (_WIDTH - 2 * _EDGE - _GAP * (len(regions) - 1)) / len(regions)
    return {region: (_EDGE + number * (width + _GAP), width) for number, region in enumerate(regions)}


class _Picture:
    """Rows from top to bottom."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._y = float(_EDGE)

    def bar(self, css: str, lines: _Lines) -> None:
        self._box(css, _EDGE, _WIDTH - 2 * _EDGE, lines)
        self._y += _height(lines)

    def boxes(
        self,
        columns: dict[str, tuple[float, float]],
        regions: Sequence[str],
        lines: dict[str, _Lines],
        css: str = "",
    ) -> None:
        for region, (left, width) in columns.items():
            self._box(f"{css} r{regions.index(region)}", left, width, lines[region])
        self._y += max(map(_height, lines.values()))

    def arrows(self, columns: dict[str, tuple[float, float]], regions: Sequence[str]) -> None:
        """One down each column, from the row above to the row below."""
        end = self._y + _ARROW
        for region, (left, width) in columns.items():
            x = left + width / 2
            self._parts.append(
                f'<path class="r{regions.index(region)}" d="M{x:g} {self._y + 2:g}V{end - 3:g}m-4 -5l4 5l4 -5"/>'
            )
        self._y = end

    def svg(self, words: str) -> str:
        size = f"0 0 {_WIDTH} {self._y + _EDGE:g}"
        body = "\n".join(self._parts)
        return (
            f'<svg class="lineage" viewBox="{size}" role="img">\n<title>{escape(words)}</title>\n'
            f"<style>{_style()}</style>\n{body}\n</svg>"
        )

    def _box(self, css: str, left: float, width: float, lines: _Lines) -> None:
        height = _height(lines)
        self._parts.append(
            f'<rect class="{css.strip()}" x="{left:g}" y="{self._y:g}" width="{width:g}" height="{height:g}" rx="5"/>'
        )
        for number, (style, text) in enumerate(lines):
            y = self._y + _PAD + _LINE * number + 10
            self._parts.append(f'<text class="{style}" x="{left + width / 2:g}" y="{y:g}">{escape(text)}</text>')


def _height(lines: _Lines) -> float:
    return 2 * _PAD + _LINE * len(lines)


def _style() -> str:
    common = (
        ".lineage{display:block;width:100%;max-width:34rem;height:auto;margin:0 auto}"
        ".lineage rect{fill:var(--page);stroke:var(--muted);stroke-width:1}"
        ".lineage rect.base{stroke:var(--ink)}"
        ".lineage rect.model{stroke-width:2.5}"
        ".lineage path{fill:none;stroke:var(--muted);stroke-width:1.3}"
        ".lineage text{fill:var(--ink);text-anchor:middle;font-size:10.5px}"
        ".lineage .b{font-weight:650;font-size:11.5px}.lineage .m{fill:var(--muted)}"
        ".lineage .c{fill:var(--muted);font-family:ui-monospace,Menlo,Consolas,monospace;font-size:9.5px}"
        ".lineage .g{fill:var(--good);font-weight:650}"
    )
    light = "".join(_stroke(number, colour) for number, colour in enumerate(LIGHT.series))
    dark = "".join(_stroke(number, colour) for number, colour in enumerate(DARK.series))
    return f"{common}{light}@media (prefers-color-scheme:dark){{{dark}}}"


def _stroke(number: int, colour: str) -> str:
    return f".lineage .r{number}{{stroke:{colour}}}"
