"""A page of SVG: boxes, words, lines and arrows, in a few named colours. Knows nothing of what is drawn.

A page has its own light background, so it reads the same on a light and on a dark screen. Lengths are pixels.
"""

from html import escape
from pathlib import Path
from typing import Literal

WIDTH_PX = 760

Anchor = Literal["start", "middle", "end"]

INK, FAINT, PAPER = "#1d2733", "#66727f", "#fcfcf8"
BLUE, ORANGE, GREEN, PURPLE = "#2f6aa8", "#b4610f", "#2b7a4b", "#76509c"
PALE = {BLUE: "#dbe8f6", ORANGE: "#fbe4cb", GREEN: "#d6efdf", PURPLE: "#e9e0f3", INK: "#e9ecef", FAINT: "#f1f2f0"}


class Drawing:
    """Collects elements in the order in which they are painted."""

    def __init__(self, height_px: int, title: str) -> None:
        """`title` is what a screen reader says."""
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_PX}" height="{height_px}" '
            f'viewBox="0 0 {WIDTH_PX} {height_px}" role="img" font-family="Verdana, DejaVu Sans, sans-serif">'
        )
        self._elements = [
            f"<title>{escape(title)}</title>",
            "<defs>",
            *(_arrow_head(colour) for colour in PALE),
            "</defs>",
            f'<rect x="0.5" y="0.5" width="{WIDTH_PX - 1}" height="{height_px - 1}" rx="8" fill="{PAPER}" '
            'stroke="#d5d8d6"/>',
        ]

    def box(self, x: float, y: float, width: float, height: float, colour: str, *, rounding: float = 4) -> None:
        """A box with a pale fill and a border of its colour."""
        self._elements.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{rounding:g}" '
            f'fill="{PALE[colour]}" stroke="{colour}"/>'
        )

    def tile(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """A full tile without a border."""
        self._elements.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{colour}" stroke="{PAPER}"/>'
        )

    def words(
        self,
        x: float,
        y: float,
        text: str,
        *,
        colour: str = INK,
        size_px: float = 12,
        anchor: Anchor = "start",
        bold: bool = False,
    ) -> None:
        """One line; `y` is its base line."""
        weight = ' font-weight="bold"' if bold else ""
        self._elements.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size_px:g}" text-anchor="{anchor}" fill="{colour}"{weight}>'
            f"{escape(text)}</text>"
        )

    def line(
        self, x1: float, y1: float, x2: float, y2: float, colour: str, *, width_px: float = 1, dashed: bool = False
    ) -> None:
        """A straight line."""
        self._elements.append(_line(x1, y1, x2, y2, colour, width_px, ' stroke-dasharray="5 4"' if dashed else ""))

    def arrow(self, x1: float, y1: float, x2: float, y2: float, colour: str, *, width_px: float = 1.6) -> None:
        """A line with its head at the second point."""
        self._elements.append(_line(x1, y1, x2, y2, colour, width_px, f' marker-end="url(#{_head_id(colour)})"'))

    def save(self, path: Path) -> None:
        """Writes the same bytes for the same calls."""
        path.write_text("\n".join((self._head, *self._elements, "</svg>")) + "\n", encoding="utf-8")


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width_px: float, more: str) -> str:
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" stroke-width="{width_px:g}"{more}/>'
    )


def _head_id(colour: str) -> str:
    return f"head-{colour[1:]}"


def _arrow_head(colour: str) -> str:
    return (
        f'<marker id="{_head_id(colour)}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="{colour}"/></marker>'
    )
