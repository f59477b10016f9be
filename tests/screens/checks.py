"""What is asked of a page in headless Chromium, as expressions of the page."""

BOXES = ("#peers", "#regions", "#tiles", "#kinds", "#facts")
"""In these nothing may be hidden in any window, to be scrolled to or not."""
WIDE_BOXES = ("#links", "#votes")
"""Tables that a narrow window may have to scroll sideways."""
PEERS = """[...document.querySelectorAll('#peers tbody tr')].map((row) =>
  Object.fromEntries([...row.cells].map((cell) => [cell.dataset.name, cell.textContent])))"""
"""The table of peers: a dict by column for each."""
TILES = """Object.fromEntries([...document.querySelectorAll('#tiles > div')].map((tile) =>
  [tile.querySelector('dt').textContent, tile.querySelector('dd').textContent]))"""
UNNAMED = "[...document.querySelectorAll('svg[role=img]')].filter((each) => !each.querySelector('title')).length"
"""Charts without a title."""
LEAST_CONTRAST = 4.5
"""WCAG 2.1 AA for text."""
CONTRAST = """(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const over = ([r, g, b, a = 1], under) => [r, g, b].map((v, at) => a * v + (1 - a) * under[at]);
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      layers.push(colour);
      if (colour.length < 4 || colour[3] === 1) break;
    }
    return layers.reduceRight((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const found = [];
  for (const node of document.querySelectorAll("h1,h2,small,p,dt,dd,th,td,li,summary,.tag,.pill,svg text")) {
    if (!node.textContent.trim() || !node.getClientRects().length || node.closest(".sr, .skip")) continue;
    const style = getComputedStyle(node);
    const [a, b] = [light(parse(node.tagName === "text" ? style.fill : style.color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < LEAST) found.push(`${node.tagName} ${node.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return found;
})()""".replace("LEAST", str(LEAST_CONTRAST))
"""Texts that are too faint on what lies behind them, half-transparent layers included."""


def cut_off(*boxes: str) -> str:
    """Those that hide something."""
    return f"""{[*boxes]}.filter((name) => {{
      const box = document.querySelector(name);
      return box.scrollWidth > box.clientWidth;
    }})"""


def out_of_reach(*boxes: str) -> str:
    """Those that hide something which neither a finger nor a keyboard brings into view, up to the end of every row."""
    return f"""{[*boxes]}.filter((name) => {{
      const box = document.querySelector(name);
      if (box.scrollWidth <= box.clientWidth) return false;
      box.scrollLeft = box.scrollWidth;
      const edge = box.getBoundingClientRect().right + 1;
      const isSeen = [...box.querySelectorAll("tr")].every((row) =>
        row.lastElementChild.getBoundingClientRect().right <= edge);
      box.scrollLeft = 0;
      return !isSeen || box.tabIndex !== 0 || !["auto", "scroll"].includes(getComputedStyle(box).overflowX);
    }})"""
