"""`make screens`: looks at the dashboard and the terminal view of a real swarm, checks them, and takes the README's
pictures. Needs a Chromium on the PATH and installs none.

    python -m tests.screens --out docs/pictures
"""

import argparse
import asyncio
import re
import sys
import tempfile
from pathlib import Path

from peers.watch.app import WatchApp
from peers.watch.source import Source
from swarm.clock import unix_s
from swarm.isolation import levels
from tests.screens import checks, chromium, strangers
from tests.screens.swarm import Dashboard, ObserverPapers, observer_papers, small_swarm
from tests.unit.telemetry.story import PEERS, spent, story, write_logs

ROUNDS = 24
"""Seen before the pictures are taken."""
UNKNOWN = "\N{EN DASH}"
"""What the page shows for a figure that nobody tells."""
MOST_BYTES = 200_000
NARROW = 390
SHOTS = (
    ("light", 1280, 900, False),
    ("dark", 1280, 900, True),
    ("390", NARROW, 844, False),
    (None, NARROW, 844, True),
)
"""The last one is looked at, and no picture of it is kept."""
PARTS = (
    "#loss svg path.line",
    "#time svg rect",
    "#traffic svg rect",
    "#links td.across",
    "#peers tbody tr",
    "#regions tbody tr",
    "#kinds meter",
    "#votes tbody tr:first-child .tag.good",
)
"""Each must be on the page at one time; the last is the newest round, once its record is verified."""
TOLD = f"{checks.PEERS}.every((row) => /^[0-9]/.test(row.Refused))"
"""All peers have told their own figures."""
READY = (
    f"document.querySelector('#connection.live') && document.body.dataset.round >= {ROUNDS} && {TOLD} && "
    + " && ".join(f"document.querySelector({part!r})" for part in PARTS)
)


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.screens", description=__doc__)
    arguments.add_argument("--out", type=Path, default=Path("docs/pictures"))
    out: Path = arguments.parse_args().out
    executable = chromium.find()
    if executable is None:
        print(f"screens: {chromium.MISSING}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as temporary, small_swarm(Path(temporary)) as (crew, address):
        papers = observer_papers(crew.papers, Path(temporary) / "observer")
        shown = Dashboard(address, *papers.words())
        try:
            with chromium.Browser(executable) as browser:
                for name, width, height, dark in SHOTS:
                    picture = _look(browser, shown.url, width, height, dark=dark)
                    if name is not None:
                        _keep(picture, out / f"dashboard-{name}.png")
                _known_figures(browser, Path(temporary) / "logs")
                assert not browser.problems, browser.problems
            strangers.check(executable, shown.url)
        finally:
            shown.close()
        drawn = asyncio.run(_terminal(address, papers))
        # Textual names web fonts; a picture of ours loads nothing, and falls back to the reader's own.
        (out / "watch.svg").write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL))
    kept = ", ".join(f"dashboard-{name}.png" for name, *_ in SHOTS if name is not None)
    print(f"pictures in {out}: {kept}, watch.svg")
    return 0


def _look(browser: chromium.Browser, url: str, width: int, height: int, *, dark: bool) -> bytes:
    """A picture of the whole page, after it has shown everything it must show."""
    browser.open(url, width, height, dark=dark)
    browser.wait_for(READY)
    picture = browser.picture(whole=True)
    for row in browser.read(checks.PEERS):
        assert row["Isolation"] in levels.LADDER and row["Refused"].isdigit() and row["ε"] == UNKNOWN, row
    tiles = browser.read(checks.TILES)
    assert tiles["frames refused"].isdigit() and tiles["ε spent, at most"] == f"{UNKNOWN} no DP", tiles
    wide = browser.read("document.documentElement.scrollWidth")
    assert wide <= width, f"the page is {wide} px wide in a window of {width} px"
    whole = checks.BOXES if width == NARROW else (*checks.BOXES, *checks.WIDE_BOXES)
    hidden = browser.read(checks.cut_off(*whole))
    assert not hidden, f"cut off at {width} px: {hidden}"
    lost = browser.read(checks.out_of_reach(*checks.WIDE_BOXES))
    assert not lost, f"out of reach at {width} px: {lost}"
    unnamed = browser.read(checks.UNNAMED)
    assert unnamed == 0, f"{unnamed} charts have no title"
    faint = browser.read(checks.CONTRAST)
    assert not faint, f"too little contrast: {faint}"
    return picture


def _keep(picture: bytes, path: Path) -> None:
    chromium.save(picture, path)
    assert path.stat().st_size < MOST_BYTES, f"{path} is larger than {MOST_BYTES} bytes"


def _known_figures(browser: chromium.Browser, logs: Path) -> None:
    """Epsilon, isolation and refused frames of logs that say what they are."""
    ada, bob, cyn = (peer[-6:] for peer in PEERS)
    shown = Dashboard("--events", write_logs(logs, [*story(), spent()]))
    try:
        browser.open(shown.url, *SHOTS[0][1:3])
        browser.wait_for(f"{checks.PEERS}.length === {len(PEERS)} && {checks.TILES}['ε spent, at most'] === '0.50'")
        found = {row["Peer"]: (row["Isolation"], row["Refused"], row["ε"]) for row in browser.read(checks.PEERS)}
        expected = {ada: ("confined", "0", "0.50"), bob: ("confined", "0", UNKNOWN), cyn: ("confined", "1", UNKNOWN)}
        assert found == expected, found
        tiles = browser.read(checks.TILES)
        assert tiles["frames refused"] == "1", tiles
        browser.open("about:blank", *SHOTS[0][1:3])  # a page whose server ends complains
    finally:
        shown.close()


async def _terminal(address: str, papers: ObserverPapers) -> str:
    """The terminal view as textual draws it, as SVG."""
    source = Source(address, None, run_id=None, passport=papers.passport, identity=papers.identity)
    app = WatchApp(source)
    async with app.run_test(size=(140, 38)) as pilot:
        until_s = unix_s() + 120
        while sum(row.verified for row in source.scene.view.rounds) < ROUNDS:
            assert unix_s() < until_s, "the swarm did not come to the terminal view"
            await pilot.pause(0.2)
        await pilot.pause(0.6)
        drawn = app.export_screenshot(title="tapestry watch")
    app.raise_failure()
    return drawn


if __name__ == "__main__":
    sys.exit(main())
