/* From numbers to places on a chart, and from many points to as many as can be seen. */

/** Round numbers within a range, about so many. */
function ticks(low, high, wanted) {
  const raw = (high - low) / Math.max(wanted, 1);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((part) => part * power).find((size) => size >= raw * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) found.push(+(at * step).toPrecision(12));
  return found;
}

function linear(low, high, from, to) {
  const place = (value) => from + ((value - low) / (high - low)) * (to - from);
  place.back = (at) => low + ((at - from) / (to - from)) * (high - low);
  return place;
}

/** As `linear`, for powers of two side by side. */
function doubling(low, high, from, to) {
  const place = linear(Math.log2(low), Math.log2(high), from, to);
  const scaled = (value) => place(Math.log2(value));
  scaled.back = (at) => 2 ** place.back(at);
  return scaled;
}

/** The mean over a window around each point; points without a value are left out of it. */
function smoothed(values, window) {
  const half = window >> 1;
  const sums = [0], counts = [0];
  values.forEach((value, at) => {
    sums.push(sums[at] + (value ?? 0));
    counts.push(counts[at] + (value === null ? 0 : 1));
  });
  return values.map((value, at) => {
    if (value === null) return null;
    const reach = Math.min(half, at, values.length - 1 - at);  // the same to both sides, so that ends don't lean
    const from = at - reach, to = at + reach + 1;
    return (sums[to] - sums[from]) / (counts[to] - counts[from]);
  });
}

const windows = { none: () => 1, light: (count) => Math.max(3, Math.round(count / 90) | 1), strong: (count) => Math.max(5, Math.round(count / 25) | 1) };

/** The part of a series that lies within [from, to], one point beyond either side. */
function within(series, from, to) {
  const { x } = series;
  let start = 0, end = x.length;
  while (start < end && x[start] < from) start++;
  while (end > start && x[end - 1] > to) end--;
  return [Math.max(0, start - 1), Math.min(x.length, end + 1)];
}

/** A path through points; where several share a column of pixels, only its first, lowest, highest and last. */
function path(x, y, from, to, placeX, placeY) {
  const parts = [];
  let column = null, pen = false, kept = [];
  const flush = () => {
    if (!kept.length) return;
    const low = kept.reduce((a, b) => (b[1] < a[1] ? b : a)), high = kept.reduce((a, b) => (b[1] > a[1] ? b : a));
    const order = [...new Set([kept[0], low, high, kept.at(-1)])].sort((a, b) => a[0] - b[0]);
    for (const [across, down] of order) {
      parts.push(`${pen ? "L" : "M"}${across.toFixed(1)} ${down.toFixed(1)}`);
      pen = true;
    }
    kept = [];
  };
  for (let at = from; at < to; at++) {
    if (y[at] === null || y[at] === undefined) continue;
    const across = placeX(x[at]);
    if (Math.round(across) !== column) flush();
    column = Math.round(across);
    kept.push([across, placeY(y[at])]);
  }
  flush();
  return parts.join("");
}

/** Where the values lie; a few spikes far above or below the rest don't make it larger, they are told instead. */
function extent(values, { bottom = null, top = null } = {}) {
  const known = values.filter((value) => value !== null && value !== undefined).sort((a, b) => a - b);
  if (!known.length) return { low: bottom ?? 0, high: top ?? 1, beyond: [] };
  const at = (share) => known[Math.min(known.length - 1, Math.floor(share * known.length))];
  let low = known[0], high = known.at(-1);
  if (known.length > 100) {
    const usual = Math.max(at(0.985) - at(0.015), Math.abs(at(0.5)) * 1e-3);
    if (high > at(0.985) + 4 * usual) high = at(0.985) + usual;
    if (low < at(0.015) - 4 * usual) low = at(0.015) - usual;
  }
  const beyond = known.filter((value) => value < low || value > high);
  if (bottom !== null) low = Math.min(low, bottom);
  if (top !== null) high = Math.max(high, top);
  if (low === high) [low, high] = low === 0 ? [0, 1] : [low - Math.abs(low) / 10, high + Math.abs(high) / 10];
  const room = (high - low) * 0.04;
  return { low: bottom !== null && low >= bottom ? bottom : low - room, high: top !== null && high <= top ? top : high + room, beyond };
}
