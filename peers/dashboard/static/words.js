// Numbers and names as people read them. No drawing, no state.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** Bytes with a decimal unit, three significant digits. */
export function bytes(count) {
  if (count === null || count === undefined) return "–";
  let unit = 0;
  while (count >= 999.5 && unit < UNITS.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit === 0 || count >= 100 ? Math.round(count) : count.toPrecision(3)} ${UNITS[unit]}`;
}

/** A count, shortened from ten thousand on. */
export function number(count) {
  if (count === null || count === undefined) return "–";
  if (count >= 999950) return `${(count / 1e6).toPrecision(3)} M`;
  if (count >= 9999.5) return `${(count / 1e3).toPrecision(3)} k`;
  return count.toLocaleString("en", { maximumFractionDigits: count < 10 && count % 1 ? 2 : 0 });
}

/** A loss or another figure with a fixed number of digits. */
export function fixed(value, digits = 3) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  return value < 9.95 ? `${value.toFixed(2)} s` : `${value.toFixed(value < 99.5 ? 1 : 0)} s`;
}

/** How long ago, roughly. */
export function ago(value) {
  if (value < 8) return "now";
  if (value < 90) return `${Math.round(value)} s ago`;
  if (value < 5400) return `${Math.round(value / 60)} min ago`;
  return value < 172800 ? `${Math.round(value / 3600)} h ago` : `${Math.round(value / 86400)} days ago`;
}

export function clock(unixSeconds) {
  return unixSeconds ? new Date(unixSeconds * 1000).toLocaleTimeString("en", { hour12: false }) : "–";
}

export function plural(count, word) {
  return `${number(count)} ${word}${count === 1 ? "" : "s"}`;
}
