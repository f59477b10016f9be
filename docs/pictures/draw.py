"""Draws the pictures of docs/round.md beside this file: `python docs/pictures/draw.py`. The same bytes every time.

Shares and times in `owners.svg` come from `swarm.round.plan`, so the picture cannot differ from the code. The time line
is not to scale.
"""

from collections.abc import Sequence
from pathlib import Path

from drawing import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, WIDTH_PX, Drawing

from swarm.round.plan import in_turn, shares

HERE = Path(__file__).parent
OWNER_COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
CHUNKS = 32
PIPELINED = 7
"""Chunks on the time line."""

Cell = tuple[str, str]
"""What happens to a vector in one phase, in a word or two, and how: w(ritten), r(ead), k(ept), or nothing."""

PHASES = ("train", "form", "reduce", "vote", "commit")
MEMORY: tuple[tuple[str, str, tuple[Cell, ...]], ...] = (
    (
        "update",
        "shared with the trainer",
        (
            ("trainer writes it", "w"),
            ("+ residual = x", "w"),
            ("x, encoded", "r"),
            ("x, kept", "k"),
            ("what is left", "r"),
        ),
    ),
    (
        "residual",
        "of this peer, 4 N bytes",
        (("kept", "k"), ("added to x", "r"), ("lost, by chunk", "w"), ("kept", "k"), ("settled", "w")),
    ),
    (
        "result",
        "recycled memory, 4 N bytes",
        (("", ""), ("", ""), ("means, decoded", "w"), ("step, in place", "w"), ("is the base now", "k")),
    ),
    (
        "base",
        "of the head, 4 N bytes",
        (("kept", "k"), ("kept", "k"), ("kept", "k"), ("step reads it", "r"), ("recycled", "")),
    ),
    (
        "encoded result",
        "one block, N + N/64 bytes",
        (("", ""), ("", ""), ("as they come", "w"), ("goes to disk", "r"), ("given to others", "r")),
    ),
    (
        "momentum",
        "only if the charter has it",
        (("kept", "k"), ("kept", "k"), ("kept", "k"), ("new one beside", "w"), ("old one recycled", "")),
    ),
    (
        "trainer's base",
        "shared with the trainer",
        (("trainer reads it", "r"), ("", ""), ("", ""), ("", ""), ("copied from base", "w")),
    ),
)
CELL_COLOURS = {"w": ORANGE, "r": BLUE, "k": INK, "": FAINT}


def chunk_way() -> Drawing:
    """(a) One chunk through two regions: part, sum, result."""
    page = Drawing(392, "One chunk through two regions: parts go up to the region's owner, one sum crosses, one result")
    for left, name, peers in ((24, "region eu", "abc"), (416, "region asia", "def")):
        page.box(left, 40, 320, 272, FAINT, rounding=10)
        page.words(left + 12, 60, name, colour=FAINT, bold=True)
        owner_x, owner_y, member_y = left + 105, 82, 242
        members = ((left + 24, peers[1]), (left + 186, peers[2]))
        page.box(owner_x, owner_y, 110, 56, GREEN if peers[0] == "a" else ORANGE)
        page.words(owner_x + 55, owner_y + 22, f"peer {peers[0]}", anchor="middle", bold=True)
        role = "owner in the root" if peers[0] == "a" else "owner in its region"
        page.words(owner_x + 55, owner_y + 40, role, anchor="middle", size_px=10)
        for x, peer in members:
            page.box(x, member_y, 110, 50, BLUE)
            page.words(x + 55, member_y + 21, f"peer {peer}", anchor="middle", bold=True)
            page.words(x + 55, member_y + 38, "x = update + residual", anchor="middle", size_px=9)
            lean = 26 if x < owner_x else -26
            page.arrow(x + 44, member_y, owner_x + 44 - lean, owner_y + 58, BLUE)
            page.arrow(owner_x + 66 - lean, owner_y + 56, x + 66, member_y - 2, GREEN)
        page.words(left + 50, 200, "1: part", colour=BLUE, anchor="middle")
        page.words(left + 270, 200, "3: result", colour=GREEN, anchor="middle")
    page.line(WIDTH_PX / 2, 34, WIDTH_PX / 2, 318, INK, dashed=True)
    page.words(WIDTH_PX / 2, 27, "border", colour=FAINT, anchor="middle", size_px=11)
    page.arrow(521, 100, 241, 100, ORANGE, width_px=2.4)
    page.arrow(239, 124, 519, 124, GREEN, width_px=2.4)
    page.words(398, 94, "2: sum", colour=ORANGE)
    page.words(398, 140, "3: result", colour=GREEN)
    for y, colour, text in (
        (
            334,
            BLUE,
            "1: a part is one peer's chunk, quantised. It stays in its region. An owner adds its own exactly.",
        ),
        (354, ORANGE, "2: a sum is the region's mean, quantised once, with the bitmap of who is in it."),
        (
            374,
            GREEN,
            "3: a result is the mean of all, quantised once; everybody gets these bytes, and their digest is voted on.",
        ),
    ):
        page.words(24, y, text, colour=colour, size_px=11.5)
    return page


def time_line() -> Drawing:
    """(b) A round: form, reduce pipelined, vote, commit."""
    page = Drawing(330, "A round on a time line: form, reduce, vote, commit")
    left, top, row = 172, 62, 32
    labels = (
        "trainer",
        "joins, one roster",
        "quantise, send parts",
        "owner: sum, quantise",
        "take, check, decode",
        "leader: step, disk, vote",
        "others: step, disk, vote",
        "certificate, record",
    )
    phases = (("form", 216, 276), ("reduce", 276, 492), ("vote", 492, 630), ("commit", 630, 694))
    for name, begin, end in phases:
        page.box(begin, 34, end - begin, 18, FAINT, rounding=0)
        page.words((begin + end) / 2, 47, name, anchor="middle", size_px=11, bold=True)
        page.line(begin, 52, begin, top + len(labels) * row, FAINT, dashed=True)
    page.line(phases[-1][2], 52, phases[-1][2], top + len(labels) * row, FAINT, dashed=True)
    for number, label in enumerate(labels):
        page.words(left - 12, top + number * row + 20, label, anchor="end", size_px=11.5)
    _bar(page, left, 216, top, "steps", INK)
    _bar(page, 694, 746, top, "steps", INK)
    _bar(page, 216, 276, top + row, "join", PURPLE)
    step = 26
    for chunk in range(PIPELINED):
        for stage, colour in enumerate((BLUE, ORANGE, GREEN)):
            x = 280 + chunk * step + stage * 14
            _bar(page, x, x + step - 2, top + (2 + stage) * row, str(chunk), colour)
    _bar(page, 494, 558, top + 5 * row, "leader", PURPLE)
    page.arrow(556, top + 5 * row + 27, 563, top + 6 * row + 3, PURPLE)
    _bar(page, 562, 628, top + 6 * row, "members", PURPLE)
    _bar(page, 633, 691, top + 7 * row, "commit", PURPLE)
    page.words(left - 148, 22, "A round, not to scale. Chunks 0 to 6 are on their way at once.", colour=FAINT)
    return page


def owners() -> Drawing:
    """(c) Who owns which chunks, and how long each peer's link is busy."""
    page = Drawing(384, "Owners of 32 chunks with equal and with unequal links, and the time each link takes")
    unequal = (100, 100, 60, 60)
    fair = shares([rate * 1_000_000 for rate in unequal], len(unequal))
    cases = (
        ("equal links, 100 Mbit/s each: equal shares", (100, 100, 100, 100), (1, 1, 1, 1)),
        ("100, 100, 60, 60 Mbit/s, equal shares: the slow links decide", unequal, (1, 1, 1, 1)),
        ("the same links, shares by measured rates: all are done at once", unequal, fair),
    )
    best_s = max(_times_s(unequal, fair))
    for number, (title, rates, weights) in enumerate(cases):
        top = 22 + 118 * number
        page.words(24, top + 4, title, bold=True)
        width = 10
        for chunk, owner in enumerate(in_turn(weights, CHUNKS)):
            page.tile(24 + chunk * width, top + 16, width, 28, OWNER_COLOURS[owner])
        page.words(24, top + 62, f"{CHUNKS} chunks, coloured by owner", colour=FAINT, size_px=11)
        for peer, (rate, weight, time_s) in enumerate(zip(rates, weights, _times_s(rates, weights), strict=True)):
            y = top + 14 + 20 * peer
            page.words(448, y + 11, f"{rate} Mbit/s, {weight / sum(weights):.4f}", anchor="end", size_px=10)
            page.tile(456, y, 180 * time_s / best_s, 15, OWNER_COLOURS[peer])
            page.words(462 + 180 * time_s / best_s, y + 11, f"{time_s / best_s:.3f}", size_px=10)
    page.line(636, 30, 636, 352, FAINT, dashed=True)
    page.words(636, 368, "1.000 = best split of the unequal links", colour=FAINT, anchor="middle", size_px=11)
    return page


def memory() -> Drawing:
    """(d) The vectors of a peer, and who writes them when."""
    page = Drawing(424, "The vectors of a peer in memory, and what happens to each in every phase of a round")
    left, top, width, height = 178, 46, 112, 42
    for column, phase in enumerate(PHASES):
        page.words(left + (column + 0.5) * width, 34, phase, anchor="middle", bold=True)
    for row, (name, about, cells) in enumerate(MEMORY):
        y = top + row * (height + 6)
        page.words(20, y + 18, name, bold=True)
        page.words(20, y + 34, about, colour=FAINT, size_px=9.5)
        for column, (text, kind) in enumerate(cells):
            page.box(left + column * width + 2, y, width - 4, height, CELL_COLOURS[kind], rounding=3)
            page.words(left + (column + 0.5) * width, y + 25, text, anchor="middle", size_px=10)
    x = left
    for kind, text in (("w", "written"), ("r", "read"), ("k", "kept as it is"), ("", "free, or not there")):
        page.box(x, 392, 16, 16, CELL_COLOURS[kind], rounding=2)
        page.words(x + 24, 404, text, size_px=11)
        x += 136
    return page


def _bar(page: Drawing, begin: float, end: float, top: float, text: str, colour: str) -> None:
    page.box(begin, top + 4, end - begin, 22, colour, rounding=2)
    page.words((begin + end) / 2, top + 19, text, anchor="middle", size_px=10)


def _times_s(rates_mbit: Sequence[int], weights: Sequence[int]) -> list[float]:
    """How long each link is busy, for a vector of one Mbit: (1 + (n - 2) w) / rate."""
    peers, total = len(rates_mbit), sum(weights)
    return [(1 + (peers - 2) * weight / total) / rate for rate, weight in zip(rates_mbit, weights, strict=True)]


def main() -> None:
    for name, page in (("chunk", chunk_way()), ("timeline", time_line()), ("owners", owners()), ("memory", memory())):
        page.save(HERE / f"{name}.svg")


if __name__ == "__main__":
    main()
