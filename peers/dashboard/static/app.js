// Draws the view that the server streams. The only state is the last view; everything on the page follows from it.

import { bars, lines, nothing } from "./charts.js";
import { ago, bytes, clock, fixed, number, plural, seconds } from "./words.js";

const $ = (id) => document.getElementById(id);
const COLOURS = 6;
const TABLE_ROUNDS = 40;
let last = null;
let told = -1;

/** An element; children that are text are set as text, never as HTML. */
function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(key, value);
  node.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return node;
}

/** A table: columns [{name, n}] and rows of cells. A stacked one is a list of its rows where the page is narrow. */
function table(caption, columns, rows, isStacked = false) {
  const head = h("tr", {}, ...columns.map((each) => h("th", { scope: "col", class: each.n ? "n" : null }, each.name)));
  const body = rows.map((row) =>
    h("tr", {}, ...row.map((cell, at) => {
      const { name, n } = columns[at];
      return h(at ? "td" : "th", { class: n ? "n" : null, scope: at ? null : "row", "data-name": name }, cell);
    })),
  );
  return h("table", { class: isStacked ? "stack" : null }, h("caption", { class: "sr" }, caption), h("thead", {}, head), h("tbody", {}, ...body));
}

/** Replaces a scrolling box's content and keeps where the reader was. */
function fill(box, node) {
  const { scrollLeft, scrollTop } = box;
  box.replaceChildren(node);
  box.scrollLeft = scrollLeft;
  box.scrollTop = scrollTop;
}

function key(entries) {
  return h("ul", { class: "key" }, ...entries.map(([css, text]) => h("li", { class: css }, h("i"), text)));
}

const colours = (view) => Object.fromEntries(view.regions.map((each, at) => [each.name, `s${at % COLOURS}`]));

function crossing(run) {
  if (Object.keys(run.regions).length < 2) return "one region";
  if (run.min_contributors === 1) return "single updates may cross a border";
  return `aggregates of ${run.min_contributors} members cross a border`;
}

function masthead(view) {
  const run = view.run;
  $("name").textContent = run ? run.name : "Tapestry";
  document.title = run ? `${run.name} · round ${view.head}` : "Tapestry";
  $("facts").textContent = run
    ? [
        `run ${run.run_id.slice(0, 12)}`,
        `${number(run.parameters)} parameters`,
        run.admission === "member" ? "members only" : `${run.admission} admission`,
        crossing(run),
      ].join(" · ")
    : "";
  const remarks = $("remarks");
  remarks.hidden = !view.remarks.length;
  remarks.replaceChildren(...view.remarks.map((text) => h("li", {}, text)));
}

function tiles(view) {
  const t = view.totals;
  const told = (text) => (t.telling ? text : "–");
  const some = t.telling && t.telling < t.peers ? `of ${t.telling} of ${t.peers} peers` : "";
  const isSeen = view.rounds.some((row) => row.committed);
  const tile = (name, value, more = "", css = null) =>
    h("div", { class: css }, h("dt", {}, name), h("dd", {}, value, more ? h("small", {}, ` ${more}`) : ""));
  $("tiles").replaceChildren(
    tile(isSeen || !view.head ? "rounds committed" : "latest round", number(view.head)),
    tile("peers live", t.live, `of ${t.peers}`),
    tile("tokens per second", number(Math.round(t.tokens_per_s))),
    tile("inside regions", told(bytes(t.inside_bytes)), some),
    tile("across borders", told(bytes(t.across_bytes)), some),
    tile("frames refused", told(number(t.refused)), "", t.refused ? "bad" : null),
    tile("updates kept back", told(number(t.denied))),
    tile("ε spent, at most", t.epsilon === null ? "–" : fixed(t.epsilon, 2), t.telling && t.epsilon === null ? "no DP" : ""),
  );
}

function losses(view, colour) {
  const names = [...new Set(view.rounds.flatMap((row) => Object.keys(row.loss)))].sort();
  const series = names.map((name) => ({
    name,
    css: colour[name] || "rest",
    points: view.rounds.filter((row) => name in row.loss).map((row) => [row.round, row.loss[name]]),
  }));
  if (!series.length) return nothing($("loss"), "No peer has published a loss yet.");
  const ends = series.map((each) => `${each.name} ${fixed(each.points[each.points.length - 1][1])}`).join(", ");
  lines($("loss"), `Training loss by round and region; now ${ends}`, series, (value) => value.toFixed(2));
  const rows = newest(view).map((row) => [row.round, ...names.map((name) => fixed(row.loss[name]))]);
  return fill($("loss-table"), table("Loss by round", [{ name: "Round" }, ...names.map((name) => ({ name, n: 1 }))], rows));
}

const newest = (view) => view.rounds.slice(-TABLE_ROUNDS).reverse();

function timeline(view) {
  const rows = view.rounds.filter((row) => row.committed && row.seconds !== null);
  if (!rows.length) return nothing($("time"), "No round is committed yet, or nobody tells how long one took.");
  const parts = rows.map((row) => {
    const form = row.form_s || 0;
    const reduce = row.reduce_s || 0;
    return { round: row.round, parts: [form, reduce, Math.max(0, row.seconds - form - reduce)] };
  });
  const shown = rows.map((row) => row.seconds);
  const middle = [...shown].sort((a, b) => a - b)[shown.length >> 1];
  bars($("time"), `Seconds per round, median ${seconds(middle)}`, parts, ["s0", "s2", "rest"], (value) => seconds(value).replace(" s", ""));
  $("time").prepend(key([["s0", "forming"], ["s2", "averaging"], ["rest", `voting and the step · median ${seconds(middle)}`]]));
  const columns = ["Form", "Average", "All"].map((name) => ({ name, n: 1 }));
  const cells = newest(view).map((row) => [row.round, seconds(row.form_s), seconds(row.reduce_s), seconds(row.seconds)]);
  return fill($("time-table"), table("Seconds by round", [{ name: "Round" }, ...columns], cells));
}

function traffic(view) {
  const rows = view.rounds.filter((row) => row.inside_bytes !== null);
  if (!rows.length) return nothing($("traffic"), "No peer has told what it sent in a round yet.");
  if (rows.every((row) => row.inside_bytes + row.across_bytes === 0)) return nothing($("traffic"), "Peers have sent each other nothing in these rounds.");
  const parts = rows.map((row) => ({ round: row.round, parts: [row.inside_bytes, row.across_bytes] }));
  bars($("traffic"), "Bytes per round, inside regions and across borders", parts, ["s0", "s1"], bytes);
  $("traffic").prepend(key([["s0", "inside regions"], ["s1", "across borders"]]));
  const columns = ["Inside", "Across"].map((name) => ({ name, n: 1 }));
  const cells = newest(view).map((row) => [row.round, bytes(row.inside_bytes), bytes(row.across_bytes)]);
  return fill($("traffic-table"), table("Bytes by round", [{ name: "Round" }, ...columns], cells));
}

function links(view) {
  const { names, regions, bytes: cells } = view.links;
  if (!names.length) return nothing($("links"), "Who sent to whom is told to holders of a passport, after a round.");
  const most = Math.max(...cells.flat(), 1);
  const head = h("tr", {}, h("td", {}), ...names.map((name) => h("th", { scope: "col" }, h("code", {}, name))));
  const senders = cells.map((row, from) => [row, from]).filter(([row]) => row.some((count) => count > 0));
  const body = senders.map(([row, from]) =>
    h("tr", {}, h("th", { scope: "row" }, h("code", {}, names[from])), ...row.map((count, to) => {
      const crosses = count && regions[from] !== regions[to] && regions[to] !== "elsewhere";
      const cell = h("td", { class: crosses ? "across" : null }, count ? bytes(count) : "");
      cell.style.setProperty("--h", (0.42 * Math.sqrt(count / most)).toFixed(3));
      return cell;
    })),
  );
  fill($("links"), h("div", {}, h("table", { class: "matrix" }, h("caption", { class: "sr" }, "Bytes sent, row to column"), h("thead", {}, head), h("tbody", {}, ...body))));
  $("links").append(h("p", { class: "quiet" }, "An orange edge marks a link across a border."));
}

const STATES = { training: "good", ready: "good", joining: "warn", leaving: "warn", silent: "bad" };

function named(css, text) {
  return h("span", { class: css }, h("span", { class: "sw" }), text);
}

function peers(view, colour) {
  const columns = [
    { name: "Peer" }, { name: "Member" }, { name: "Region" }, { name: "State" }, { name: "Round", n: 1 }, { name: "Tokens/s", n: 1 },
    { name: "Loss", n: 1 }, { name: "Isolation" }, { name: "Reached" }, { name: "Sent", n: 1 }, { name: "Refused", n: 1 }, { name: "ε", n: 1 },
    { name: "Heard", n: 1 },
  ];
  const rows = view.peers.map((row) => [
    h("code", { title: row.peer }, row.name),
    row.member || "–",
    named(colour[row.region] || "", row.region),
    h("span", { class: `tag ${STATES[row.state] || ""}` }, row.state),
    row.round,
    number(Math.round(row.tokens_per_s)),
    fixed(row.loss),
    row.isolation || "–",
    row.reach || "–",
    row.sent_bytes ? bytes(row.sent_bytes) : "–",
    row.tells ? number(row.refused) : "–",
    row.epsilon === null ? "–" : fixed(row.epsilon, 2),
    ago(row.seen_s_ago),
  ]);
  if (!rows.length) return nothing($("peers"), "Nobody has been heard of yet.");
  return fill($("peers"), table("Peers", columns, rows, true));
}

function regions(view, colour) {
  const columns = [
    { name: "Region" }, { name: "Peers", n: 1 }, { name: "Tokens/s", n: 1 }, { name: "Loss", n: 1 }, { name: "Inside", n: 1 }, { name: "Across", n: 1 },
  ];
  const rows = view.regions.map((row) => [
    named(colour[row.name], row.jurisdictions.length ? `${row.name} (${row.jurisdictions.join(", ")})` : row.name),
    `${row.live} of ${row.peers}`,
    number(Math.round(row.tokens_per_s)),
    fixed(row.loss),
    bytes(row.inside_bytes),
    bytes(row.across_bytes),
  ]);
  fill($("regions"), table("Regions", columns, rows, true));
}

function kinds(view) {
  const entries = Object.entries(view.totals.by_kind).slice(0, 9);
  if (!entries.length) return nothing($("kinds"), "Nothing is known of what peers sent.");
  const most = Math.max(...entries.map(([, count]) => count), 1);
  return $("kinds").replaceChildren(
    ...entries.map(([kind, count]) =>
      h("div", { class: "bar" }, h("span", {}, kind), h("meter", { min: 0, max: most, value: count, "aria-label": kind }), h("span", { class: "n" }, bytes(count))),
    ),
  );
}

function recordTag(row) {
  if (row.apart) return h("span", { class: "tag bad" }, "bases differ");
  if (row.rejecting !== null) return h("span", { class: "tag warn" }, `rejected, ${row.rejecting} to ${row.accepting}`);
  if (row.verified) return h("span", { class: "tag good" }, "verified");
  return h("span", { class: "tag" }, row.committed ? "reported" : "open");
}

function votes(view) {
  const columns = [
    { name: "Round" }, { name: "Record" }, { name: "Votes", n: 1 }, { name: "Counted", n: 1 }, { name: "Attempt", n: 1 }, { name: "Tokens", n: 1 },
    { name: "Committed", n: 1 }, { name: "Base" },
  ];
  const rows = newest(view).map((row) => [
    row.round,
    recordTag(row),
    row.votes === null ? "–" : `${row.votes} of ${row.voters}`,
    row.peers ? `${row.counted} of ${row.peers}` : "–",
    row.attempt || "–",
    number(row.tokens),
    clock(row.at),
    row.state_digest ? h("code", { title: row.state_digest }, row.state_digest.slice(0, 12)) : "–",
  ]);
  if (!rows.length) return nothing($("votes"), "No round has been seen yet.");
  return fill($("votes"), table("Rounds, votes and records", columns, rows));
}

/** Says a new round to readers that cannot see the page change, and nothing more often than that. */
function news(view) {
  if (view.head === told) return;
  told = view.head;
  const row = view.rounds.find((each) => each.round === view.head);
  if (row) $("news").textContent = `Round ${row.round} is committed, ${plural(row.counted, "peer")} counted.`;
}

function draw(view) {
  const colour = colours(view);
  masthead(view);
  tiles(view);
  losses(view, colour);
  timeline(view);
  traffic(view);
  links(view);
  peers(view, colour);
  regions(view, colour);
  kinds(view);
  votes(view);
  news(view);
  document.body.dataset.round = view.head;
}

function connection(text, isLive) {
  const pill = $("connection");
  if (pill.textContent !== text) pill.textContent = text;
  pill.classList.toggle("live", isLive);
}

const stream = new EventSource("/events");
stream.addEventListener("view", (message) => {
  last = JSON.parse(message.data);
  connection("live", true);
  draw(last);
});
stream.addEventListener("error", () => connection("reconnecting", false));

let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth !== width && last) draw(last);
  width = window.innerWidth;
});
