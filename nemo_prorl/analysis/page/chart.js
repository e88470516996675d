/* One chart: lines over steps or over anything else, what happened at which step, and the same as a table. */

const COLOURS = ["first", "second", "third", "fourth", "fifth", "sixth"];
const MOST_NAMES = 15;  // of points in a chart that are written beside them; more would hide each other
const MOST_DOTS = 60;  // of a line; more would hide it
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "1 3", "10 4"];

class Chart {
  /** `spec`: title, unit, note, x {label, log, range}, overSteps, bottom, top, wide, metrics, and series, each with label,
      x, y and, where there are, low and high (a band), error, names (of points), dots or bars (no line). `page`: what all
      charts share. */
  constructor(spec, page) {
    Object.assign(this, { spec, page, dirty: true, visible: false, at: null });
    this.series = spec.series.map((one, place) => ({
      ...one,
      colour: `var(--${one.colour ?? COLOURS[place % COLOURS.length]})`,
      dash: one.dash ?? (spec.series.length > 2 ? DASHES[place % DASHES.length] : ""),
    }));
    this.values = this.series.map(() => element("b"));
    this.legend = element("ul", { class: "legend", "aria-hidden": "true" }, ...this.series.map((one, place) =>
      element("li", {}, sample(one), this.series.length > 1 || one.label !== spec.title ? `${one.label} ` : "", this.values[place])));
    this.plot = element("div", {
      class: "plot", tabindex: "0", role: "application", "aria-roledescription": "chart", "aria-label": this.summary(),
    });
    this.figure = element("figure", {},
      element("figcaption", {}, element("h3", {}, spec.title, spec.unit ? element("span", { class: "unit" }, spec.unit) : null)),
      this.legend, this.plot, spec.note ? element("p", { class: "note" }, minus(spec.note)) : null, this.table());
    listen(this);
  }

  summary() {
    const parts = this.series.map((one) => {
      const known = one.y.map((value, at) => [one.x[at], value]).filter(([, value]) => value !== null);
      if (!known.length) return `${one.label}: nothing`;
      const [first, last] = [known[0], known.at(-1)];
      const low = known.reduce((a, b) => (b[1] < a[1] ? b : a)), high = known.reduce((a, b) => (b[1] > a[1] ? b : a));
      const where = ([x, value]) => `${told(value)} at ${this.spec.x.label} ${told(x)}`;
      return `${one.label}: from ${where(first)} to ${where(last)}, lowest ${where(low)}, highest ${where(high)}`;
    });
    return `${this.spec.title}${this.spec.unit ? `, ${this.spec.unit}` : ""}. ${parts.join(". ")}. Arrow keys read single points.`;
  }

  range() {
    if (this.spec.overSteps) return this.page.range();
    const all = this.series.flatMap((one) => one.x);
    const [low, high] = this.spec.x.range ?? [Math.min(...all), Math.max(...all)];
    const room = this.spec.x.log ? 0 : (high - low) * 0.03;
    return [low - room, high + room];
  }

  draw() {
    if (!this.visible || !this.dirty) return;
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (!width) return;
    this.dirty = false;
    const [from, to] = this.range();
    const drawnSeries = this.series.map((one) => this.shown(one, from, to));
    const values = drawnSeries.flatMap((one) => [
      ...one.y.slice(...one.span), ...(one.low ?? []).slice(...one.span), ...(one.high ?? []).slice(...one.span)]);
    const extents = extent(values, this.spec);
    const marks = ticks(extents.low, extents.high, height > 160 ? 4 : 3);
    const left = Math.max(...marks.map((tick) => told_tick(tick, marks).length)) * 6.6 + 10;
    const area = { left, right: width - 16, top: this.spec.wide && this.spec.overSteps ? 18 : 8, bottom: height - (this.spec.overSteps ? 22 : 38) };
    this.x = (this.spec.x.log ? doubling : linear)(from, to === from ? from + 1 : to, area.left, area.right);
    this.y = linear(extents.low, extents.high, area.bottom, area.top);
    Object.assign(this, { area, drawnSeries, beyond: extents.beyond });
    const names = new Names(area);
    const total = this.series.reduce((sum, one) => sum + one.x.length, 0);
    const clip = `clip-${this.page.number(this)}`;
    const layer = drawn("g", { "clip-path": `url(#${clip})` }, ...drawnSeries.flatMap((one) => lines(one, this.x, this.y, total <= MOST_NAMES ? names : null)));
    this.cursor = drawn("g");
    this.plot.replaceChildren(drawn("svg", { "aria-hidden": "true" },
      drawn("clipPath", { id: clip }, drawn("rect", {
        x: area.left - 2, y: area.top - 4, width: Math.max(area.right - area.left + 6, 0), height: area.bottom - area.top + 6 })),
      ...(this.spec.overSteps ? background(this) : []),
      ...frame(this, marks, from, to), layer, ...(this.spec.overSteps ? happenings(this, from, to) : []), this.cursor));
    this.point(this.at);
  }

  /** A series as it is drawn: smoothed, and which of its points lie in view. */
  shown(one, from, to) {
    const window = this.spec.overSteps && !one.low ? windows[this.page.smoothing()](one.y.length) : 1;
    const y = window > 1 ? smoothed(one.y, window) : one.y;
    return { ...one, y, raw: window > 1 ? one.y : null, span: this.spec.x.log ? [0, one.x.length] : within(one, from, to) };
  }

  /** Every place on the horizontal axis that has a point in view. */
  stops() {
    const [from, to] = this.range();
    const all = new Set(this.series.flatMap((one) => one.x.filter((x, at) => one.y[at] !== null && x >= from && x <= to)));
    return [...all].sort((a, b) => a - b);
  }

  /** Show what the chart says at `x`, or what it says last. Returns the same in words. */
  point(x) {
    this.at = x;
    const found = this.series.map((one) => (x === null ? lastOf(one) : one.x.indexOf(x)));
    found.forEach((at, place) => {
      const one = this.series[place];
      this.values[place].textContent = (x === null && one.dots) ? "" : at < 0 || one.y[at] === null ? "\u2013" : told(one.y[at]) + error(one, at) + (one.names && x !== null ? ` (${one.names[at]})` : "");
    });
    if (!this.cursor) return "";
    this.cursor.replaceChildren();
    if (x === null) return "";
    const across = this.x(x);
    this.cursor.append(drawn("line", { class: "cursor", x1: across, x2: across, y1: this.area.top, y2: this.area.bottom }));
    const spoken = found.flatMap((at, place) => {
      const one = this.series[place];
      if (at < 0 || one.y[at] === null) return [];
      const down = Math.min(Math.max(this.y(one.y[at]), this.area.top), this.area.bottom);
      this.cursor.append(drawn("circle", { cx: across, cy: down, r: 3.5, fill: one.colour, class: "dot" }));
      return [`${one.names ? one.names[at] : one.label} ${told(one.y[at])}${error(one, at)}`];
    });
    return `${this.spec.x.label} ${told(x)}: ${spoken.join(", ")}`;
  }

  table() {
    const fold = element("details", {}, element("summary", {}, "Numbers", element("span", { class: "unseen" }, ` of ${this.spec.title}`)));
    fold.addEventListener("toggle", () => {
      if (fold.open && !fold.querySelector("table")) fold.append(...numbers(this.spec, this.series));
    });
    return fold;
  }
}

const lastOf = (one) => one.y.findLastIndex((value) => value !== null);
const error = (one, at) => (one.error && one.error[at] !== null ? ` \u00b1 ${told(one.error[at], one.y[at])}` : "");

function sample(one) {
  const line = drawn("line", { x1: 0, x2: 18, y1: 5, y2: 5, stroke: one.colour, "stroke-width": 2.2, "stroke-dasharray": one.dash });
  const dot = drawn("circle", { cx: 9, cy: 5, r: 4, fill: one.colour });
  return drawn("svg", { width: 18, height: 10 }, one.dots || one.bars ? dot : line);
}

/** A tick with as many decimals as its neighbours need. */
function told_tick(tick, all) {
  const step = all.length > 1 ? Math.abs(all[1] - all[0]) : Math.abs(tick) || 1;
  if (Math.max(...all.map(Math.abs)) >= 1e6 || step < 1e-4) return tick === 0 ? "0" : tick.toExponential(1).replace("-", "\u2212");
  const decimals = [0, 1, 2, 3, 4, 5, 6].find((count) => all.every((one) => Math.abs(one - one.toFixed(count)) < step * 1e-6)) ?? 6;
  return tick.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }).replace("-", "\u2212");
}

/** `names`: writes the names of points beside them, of those that have one; null: it doesn't. */
function lines(one, placeX, placeY, names) {
  const [from, to] = one.span;
  const parts = [];
  if (one.low) parts.push(drawn("path", { class: "area", fill: one.colour, d: band(one, placeX, placeY) }));
  if (one.raw) parts.push(drawn("path", { class: "series pale", stroke: one.colour, d: path(one.x, one.raw, from, to, placeX, placeY) }));
  if (one.bars) return [...parts, ...bars(one, placeX, placeY)];
  if (!one.dots) {
    parts.push(drawn("path", {
      class: "series", stroke: one.colour, "stroke-dasharray": one.dash, d: path(one.x, one.y, from, to, placeX, placeY) }));
  }
  if (one.dots || (one.low && to - from <= MOST_DOTS) || one.x.length === 1) {
    for (let at = from; at < to; at++) {
      if (one.y[at] === null) continue;
      const [across, down] = [placeX(one.x[at]), placeY(one.y[at])];
      parts.push(drawn("circle", { class: "dot", cx: across, cy: down, r: one.dots ? 4.5 : 3, fill: one.colour }));
      const name = one.names && names?.beside(one.names[at].split("/").at(-1), across, down);
      if (name) parts.push(name);
    }
  }
  return parts;
}

/** Names of points, each to the side that has room; one that would lie on another is left to the table. */
class Names {
  constructor(area) {
    Object.assign(this, { area, taken: [] });
  }

  beside(text, across, down) {
    const width = text.length * 6.2, isLeft = across + 8 + width > this.area.right;
    const from = isLeft ? across - 8 - width : across + 8;
    const lies = this.taken.some(([left, right, height]) => from < right && from + width > left && Math.abs(height - down) < 11);
    if (from < this.area.left || lies) return null;
    this.taken.push([from, from + width, down]);
    return drawn("text", { x: isLeft ? across - 8 : across + 8, y: down + 4, "text-anchor": isLeft ? "end" : "start" }, text);
  }
}

/** Bars beside each other: `one.bars` is {width of a bin, place among the series, number of series}. */
function bars(one, placeX, placeY) {
  const { width, place, of } = one.bars;
  const each = (placeX(width) - placeX(0)) * 0.8 / of;
  return one.x.map((x, at) => drawn("rect", {
    fill: one.colour, x: placeX(x) + (place - of / 2) * each, width: Math.max(each - 1, 1), y: placeY(one.y[at]), height: Math.max(placeY(0) - placeY(one.y[at]), 0),
  }));
}

/** The outline of a band, where both of its ends are known. */
function band(one, placeX, placeY) {
  const known = one.x.map((x, at) => at).slice(...one.span).filter((at) => one.low[at] !== null && one.high[at] !== null);
  if (known.length < 2) return "";
  const spot = (at, values) => `${placeX(one.x[at]).toFixed(1)} ${placeY(values[at]).toFixed(1)}`;
  return `M${known.map((at) => spot(at, one.high)).join("L")}L${known.reverse().map((at) => spot(at, one.low)).join("L")}Z`;
}
