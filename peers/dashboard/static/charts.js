// Charts as inline SVG, drawn from plain arrays. Every chart has a title for readers that cannot see it; the table with
// the same figures stands beside it on the page.

const SVG = "http://www.w3.org/2000/svg";

function make(name, attributes, parent) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (parent) parent.append(node);
  return node;
}

function words(parent, x, y, text, css, anchor = "start") {
  const node = make("text", { x, y, class: css, "text-anchor": anchor }, parent);
  node.textContent = text;
  return node;
}

/** Two to five round figures that span the values. */
export function ticks(low, high, most = 4) {
  const span = high - low || Math.abs(high) || 1;
  let step = 10 ** Math.floor(Math.log10(span / most));
  for (const factor of [1, 2, 2.5, 5, 10]) {
    if (span / (step * factor) <= most) {
      step *= factor;
      break;
    }
  }
  const marks = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) marks.push(at);
  return marks;
}

/** Frame, grid and axes; returns the drawing and its scales. Rounds run along x. */
function frame(box, title, rounds, low, high, label, right) {
  const width = Math.max(box.clientWidth || 320, 260);
  const height = width < 420 ? 170 : 200;
  const edge = { left: 52, right, top: 10, bottom: 24 };
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  make("title", {}, svg).textContent = title;
  const y = (value) =>
    edge.top + (height - edge.top - edge.bottom) * (1 - (value - low) / (high - low || 1));
  const first = rounds[0];
  const last = rounds[rounds.length - 1];
  const inner = width - edge.left - edge.right;
  const x = (round) => edge.left + (last === first ? inner / 2 : (inner * (round - first)) / (last - first));
  for (const mark of ticks(low, high)) {
    make("line", { x1: edge.left, x2: width - edge.right, y1: y(mark), y2: y(mark), class: "grid" }, svg);
    words(svg, edge.left - 7, y(mark) + 4, label(mark), "axis", "end");
  }
  const marks = rounds.length < 3 ? rounds : ticks(first, last, width < 420 ? 4 : 8).filter((mark) => mark % 1 === 0);
  for (const mark of marks) {
    words(svg, x(mark), height - 7, mark, "axis", "middle");
  }
  return { svg, x, y, width, height, edge, inner };
}

function show(box, svg) {
  box.replaceChildren(svg);
}

/** What stands where there is nothing to draw. */
export function nothing(box, text) {
  const p = document.createElement("p");
  p.className = "empty";
  p.textContent = text;
  box.replaceChildren(p);
}

/** Lines, one per series: {name, css, points: [[round, value]]}; named at their ends. */
export function lines(box, title, series, label) {
  const points = series.flatMap((each) => each.points);
  const rounds = [...new Set(points.map(([round]) => round))].sort((a, b) => a - b);
  const values = points.map(([, value]) => value);
  const low = Math.min(...values);
  const high = Math.max(...values);
  const pad = (high - low || Math.abs(high) || 1) * 0.08;
  const longest = Math.max(...series.map((each) => each.name.length));
  const right = Math.min(14 + longest * 7, 124);
  const { svg, x, y, width } = frame(box, title, rounds, low - pad, high + pad, label, right);
  const ends = [];
  for (const each of series) {
    const path = each.points.map(([round, value], at) => `${at ? "L" : "M"}${x(round).toFixed(1)} ${y(value).toFixed(1)}`);
    make("path", { d: path.join(""), class: `line ${each.css}` }, svg);
    const [round, value] = each.points[each.points.length - 1];
    make("circle", { cx: x(round), cy: y(value), r: 3.5, class: `dot ${each.css}` }, svg);
    ends.push({ at: y(value), each });
  }
  // Names stand beside the lines' ends, pushed apart where they would cover each other.
  ends.sort((a, b) => a.at - b.at);
  for (let i = 1; i < ends.length; i += 1) ends[i].at = Math.max(ends[i].at, ends[i - 1].at + 14);
  for (const { at, each } of ends) words(svg, width - right + 9, at + 4, each.name, `name ${each.css}`);
  show(box, svg);
}

/** Stacked bars over rounds: rows [{round, parts: [..], faint}], one css class per part. */
export function bars(box, title, rows, css, label) {
  const rounds = rows.map((row) => row.round);
  const high = Math.max(...rows.map((row) => row.parts.reduce((a, b) => a + b, 0)), 1e-9);
  const span = rounds[rounds.length - 1] - rounds[0] + 1;
  const { svg, y, width, edge, inner } = frame(box, title, rounds, 0, high * 1.06, label, 12);
  const slot = inner / span;
  const bar = Math.max(1, Math.min(slot * 0.72, 26));
  for (const mark of svg.querySelectorAll("text[text-anchor=middle]")) mark.remove();
  const step = Math.max(1, Math.ceil(30 / slot));
  for (const row of rows) {
    const middle = edge.left + slot * (row.round - rounds[0] + 0.5);
    let base = 0;
    row.parts.forEach((part, at) => {
      if (part <= 0) return;
      const top = y(base + part);
      const rect = make(
        "rect",
        { x: middle - bar / 2, y: top, width: bar, height: Math.max(y(base) - top, 0.8), rx: 1.5, class: css[at] },
        svg,
      );
      if (row.faint) rect.classList.add("faint");
      make("title", {}, rect).textContent = `round ${row.round}: ${label(part)}`;
      base += part;
    });
    if ((row.round - rounds[0]) % step === 0) words(svg, middle, svg.viewBox.baseVal.height - 7, row.round, "axis", "middle");
  }
  make("line", { x1: edge.left, x2: width - edge.right, y1: y(0), y2: y(0), class: "base" }, svg);
  show(box, svg);
}
