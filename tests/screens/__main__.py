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
from tests.screens import chromium
from tests.screens.swarm import Dashboard, ObserverPapers, observer_papers, small_swarm

ROUNDS = 24
"""Seen before the pictures are taken."""
MOST_BYTES = 200_000
SHOTS = (("light", 1280, 900, False), ("dark", 1280, 900, True), ("390", 390, 844, False))
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
READY = f"document.querySelector('#connection.live') && document.body.dataset.round >= {ROUNDS} && " + " && ".join(
    f"document.querySelector({part!r})" for part in PARTS
)
CUT_OFF = """['#peers', '#regions', '#tiles', '#kinds', '#facts'].filter((name) => {
  const box = document.querySelector(name);
  return box.scrollWidth > box.clientWidth;
})"""
"""Where a narrow window must hide nothing, to be scrolled to or not."""
LEAST_CONTRAST = 4.5
"""WCAG 2.1 AA for text."""
CONTRAST = """(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("h1,h2,small,p,dt,dd,th,td,li,summary,.tag,.pill,svg text")) {
    if (!node.textContent.trim() || !node.getClientRects().length || node.closest(".sr, .skip, .matrix")) continue;
    const style = getComputedStyle(node);
    const [a, b] = [light(parse(node.tagName === "text" ? style.fill : style.color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < LEAST) found.push(`${node.tagName} ${node.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return found;
})()""".replace("LEAST", str(LEAST_CONTRAST))


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
                    _look(browser, shown.url, out / f"dashboard-{name}.png", width, height, dark=dark)
                assert not browser.problems, browser.problems
        finally:
            shown.close()
        drawn = asyncio.run(_terminal(address, papers))
        # Textual names web fonts; a picture of ours loads nothing, and falls back to the reader's own.
        (out / "watch.svg").write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL))
    print(f"pictures in {out}: {', '.join(f'dashboard-{name}.png' for name, *_ in SHOTS)}, watch.svg")
    return 0


def _look(browser: chromium.Browser, url: str, path: Path, width: int, height: int, *, dark: bool) -> None:
    """One picture, after the page has shown everything it must show."""
    browser.open(url, width, height, dark=dark)
    browser.wait_for(READY)
    chromium.save(browser.picture(whole=True), path)
    wide = browser.read("document.documentElement.scrollWidth")
    assert wide <= width, f"the page is {wide} px wide in a window of {width} px"
    hidden = browser.read(CUT_OFF)
    assert not hidden, f"cut off at {width} px: {hidden}"
    unnamed = browser.read(
        "[...document.querySelectorAll('svg[role=img]')].filter(e => !e.querySelector('title')).length"
    )
    assert unnamed == 0, f"{unnamed} charts have no title"
    faint = browser.read(CONTRAST)
    assert not faint, f"too little contrast: {faint}"
    assert path.stat().st_size < MOST_BYTES, f"{path} is larger than {MOST_BYTES} bytes"


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
