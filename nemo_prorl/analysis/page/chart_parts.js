/* What a chart has around its lines: axes, what happened at which step, how it is pointed at, its table. */

function frame(chart, marks, from, to) {
  const { area, x, y, spec } = chart;
  const parts = marks.flatMap((tick) => [
    drawn("line", { class: "gridline", x1: area.left, x2: area.right, y1: y(tick), y2: y(tick) }),
    drawn("text", { x: area.left - 7, y: y(tick) + 4, "text-anchor": "end" }, told_tick(tick, marks)),
  ]);
  parts.push(drawn("line", { class: "axis", x1: area.left, x2: area.right, y1: area.bottom, y2: area.bottom }));
  const room = (area.right - area.left) / 70;
  const below = spec.x.log ? powers(from, to) : ticks(...(spec.x.range ?? [from, to]), Math.max(2, Math.floor(room))).filter((tick) => !spec.overSteps || Number.isInteger(tick));
  for (const tick of below) {
    parts.push(drawn("text", { x: x(tick), y: area.bottom + 15, "text-anchor": "middle" }, told_tick(tick, spec.x.log ? [tick] : below)));
  }
  if (!spec.overSteps) parts.push(drawn("text", { x: (area.left + area.right) / 2, y: area.bottom + 33, "text-anchor": "middle" }, spec.x.label));
  if (y.back(area.bottom) < 0) parts.push(drawn("line", { class: "axis", x1: area.left, x2: area.right, y1: y(0), y2: y(0) }));
  if (chart.beyond.length) {
    const most = chart.beyond.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a));
    parts.push(drawn("text", { x: area.right, y: area.top + 6, "text-anchor": "end" }, `${chart.beyond.length} beyond, up to ${told(most)}`));
  }
  return parts;
}

function powers(from, to) {
  const found = [];
  for (let power = 1; power <= to * 1.001; power *= 2) if (power >= from * 0.999) found.push(power);
  return found;
}

/** Every other stage shaded, with its name where there is room. */
function background(chart) {
  const { area, x, page, spec } = chart;
  return page.stages().flatMap(([name, first, last], place) => {
    const start = Math.max(x(first - 0.5), area.left), end = Math.min(x(last + 0.5), area.right);
    if (end <= start) return [];
    const shade = place % 2 ? drawn("rect", { class: "band", x: start, y: area.top, width: end - start, height: area.bottom - area.top }) : null;
    const fits = spec.wide && page.stages().length > 1 && end - start > name.length * 6 + 6;
    return [shade, fits ? drawn("text", { class: "stage", x: (start + end) / 2, y: 10, "text-anchor": "middle" }, name) : null].filter(Boolean);
  });
}

/** Resets between two steps, restarts and alarms on the axis; each says itself when it is pointed at. */
function happenings(chart, from, to) {
  const { area, x, page, spec } = chart;
  const inView = ([step]) => step >= from && step <= to;
  const resets = page.resets().filter(inView).map(([step, reason]) => drawn("line", {
    class: "reset", x1: x(step + 0.5), x2: x(step + 0.5), y1: area.top, y2: area.bottom }, drawn("title", {}, `reset after step ${step}: ${reason}`)));
  const restarts = page.restarts().filter(inView).map(([step, number]) => drawn("circle", {
    class: "restart", cx: x(step), cy: area.bottom, r: 3 }, drawn("title", {}, `attempt ${number} begins at step ${step}`)));
  const alarms = page.alarms().filter(inView).filter(([, , metric]) => spec.metrics.includes(metric)).map(([step, name]) => drawn("path", {
    class: "alarm", d: `M${x(step)} ${area.bottom - 9}l4.5 8h-9z` }, drawn("title", {}, `alarm at step ${step}: ${name}`)));
  return [...resets, ...restarts, ...alarms];
}

/** Pointing with a mouse, a finger or the arrow keys; dragging with a mouse chooses steps. */
function listen(chart) {
  const { plot, page, spec } = chart;
  let start = null;
  const nearest = (event) => {
    const stops = chart.stops();
    const at = chart.x?.back(event.clientX - plot.getBoundingClientRect().left);
    return stops.length && at !== undefined ? stops.reduce((a, b) => (Math.abs(b - at) < Math.abs(a - at) ? b : a)) : null;
  };
  const show = (x) => (spec.overSteps ? page.pointAll(chart, x) : chart.point(x));
  plot.addEventListener("pointermove", (event) => {
    show(nearest(event));
    if (start !== null && chart.cursor) mark(chart, start, event);
  });
  plot.addEventListener("pointerleave", () => { start = null; show(null); });
  plot.addEventListener("blur", () => show(null));
  plot.addEventListener("pointerdown", (event) => { start = spec.overSteps && event.pointerType === "mouse" ? event : null; });
  plot.addEventListener("pointerup", (event) => {
    if (start !== null && Math.abs(event.clientX - start.clientX) > 8) {
      const edge = plot.getBoundingClientRect().left;
      const ends = [start, event].map((one) => Math.round(chart.x.back(one.clientX - edge))).sort((a, b) => a - b);
      page.choose(...ends);
    }
    start = null;
  });
  plot.addEventListener("keydown", (event) => {
    const stops = chart.stops();
    const at = stops.indexOf(chart.at);
    const far = event.shiftKey ? Math.max(10, Math.round(stops.length / 20)) : 1;
    const goal = { ArrowLeft: (at < 0 ? stops.length : at) - far, ArrowRight: at + far, Home: 0, End: stops.length - 1 }[event.key];
    if (event.key === "Escape") show(null);
    if (goal === undefined || !stops.length) return;
    event.preventDefault();
    const x = stops[Math.min(Math.max(goal, 0), stops.length - 1)];
    show(x);
    byId("spoken").textContent = chart.point(x);
  });
}

function mark(chart, start, event) {
  const edge = chart.plot.getBoundingClientRect().left;
  const [a, b] = [start.clientX - edge, event.clientX - edge].sort((p, q) => p - q);
  chart.cursor.append(drawn("rect", { class: "selection", x: a, width: b - a, y: chart.area.top, height: chart.area.bottom - chart.area.top }));
}

/** The chart as a table, and a button that saves it. */
function numbers(spec, series) {
  const rows = new Map();
  series.forEach((one, place) => one.x.forEach((x, at) => {
    if (one.y[at] === null || one.y[at] === undefined) return;
    const key = one.names ? `${one.names[at]}, ${x}` : x;
    if (!rows.has(key)) rows.set(key, [key, ...Array(series.length).fill("")]);
    rows.get(key)[place + 1] = told(one.y[at]) + error(one, at);
  }));
  const sorted = [...rows.values()].sort((a, b) => (typeof a[0] === "number" ? a[0] - b[0] : 0));
  const heads = [spec.x.label, ...series.map((one) => one.label)];
  const save = element("button", { type: "button", onclick: () => saveCsv(`${spec.title}.csv`, spec, series) }, "save as CSV");
  const shown = table({ title: spec.title, heads, rows: sorted.map((row) => [typeof row[0] === "number" ? told(row[0]) : row[0], ...row.slice(1)]), note: spec.unit ?? "", numbers_from: 1 });
  shown.classList.add("tall");
  return [shown, save];
}

function saveCsv(name, spec, series) {
  const quoted = (text) => `"${String(text).replaceAll('"', '""')}"`;
  const lines = [["series", spec.x.label, spec.unit || "value", "standard error"].map(quoted).join(",")];
  for (const one of series) {
    one.x.forEach((x, at) => one.y[at] === null || lines.push([quoted(one.names ? one.names[at] : one.label), x, one.y[at], one.error?.[at] ?? ""].join(",")));
  }
  const url = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A table as nemo_prorl.analysis.tables has it; it scrolls inside itself where the page is narrow. */
function table({ title, heads, rows, note, numbers_from }) {
  const kind = (place, text = "") => (place >= numbers_from ? "n" : text.length < 20 ? "short" : null);
  const caption = element("caption", {}, title, note ? element("small", {}, note) : null);
  const head = element("thead", {}, element("tr", {}, ...heads.map((text, place) => element("th", { scope: "col", class: kind(place) }, text))));
  const body = element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((text, place) =>
    element(place ? "td" : "th", { scope: place ? null : "row", class: kind(place, text) }, place >= numbers_from ? minus(text) : text)))));
  return element("div", { class: `table${numbers_from >= heads.length ? " wordy" : ""}`, tabindex: "0", role: "group", "aria-label": title },
    element("table", {}, caption, head, body));
}
