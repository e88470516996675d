/* The page: head, sections and their charts, what all charts share, and how it stays up to date. */

const STATES = {
  finished: ["finished", "good"], running: ["running", "accent"], starting: ["starting", "accent"], stopping: ["stopping", "mid"],
  stopped: ["stopped", "mid"], failed: ["failed", "bad"], lost: ["lost", "bad"], unknown: ["", ""],
};

const page = {
  story: null, charts: [], chosen: null,

  stages: () => page.story.stages,
  resets: () => page.story.resets,
  restarts: () => page.story.restarts,
  alarms: () => page.story.alarms,
  smoothing: () => byId("smoothing").value,
  number: (chart) => page.charts.indexOf(chart),

  all() {
    const { steps, validation } = page.story.curves;
    const ends = [...steps.x.slice(0, 1), ...steps.x.slice(-1), ...validation.x.slice(0, 1), ...validation.x.slice(-1)];
    return ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1];
  },
  range: () => page.chosen ?? page.all(),

  choose(from, to) {
    const [first, last] = page.all();
    page.chosen = to > from && (from > first || to < last) ? [Math.max(from, first), Math.min(to, last)] : null;
    const [low, high] = page.range();
    Object.assign(byId("from"), { value: low, min: first, max: last });
    Object.assign(byId("to"), { value: high, min: first, max: last });
    page.redraw();
  },

  redraw() {
    for (const chart of page.charts) {
      chart.dirty = true;
      chart.draw();
    }
  },

  /** Show the same step in every chart over steps; each its own nearest. */
  pointAll(source, x) {
    if (source.at === x) return;
    source.point(x);
    for (const chart of page.charts) {
      if (chart === source || !chart.visible || !chart.spec.overSteps) continue;
      chart.point(x !== null && chart.series.some((one) => one.x.includes(x)) ? x : null);
    }
  },
};

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const chart = page.charts.find((one) => one.plot === target);
    if (!chart) continue;
    chart.visible = isIntersecting;
    chart.draw();
  }
}, { rootMargin: "250px" });

/** What the chart needs of a panel as nemo_prorl.analysis.panels has it. */
function overSteps(panel, wide) {
  const series = panel.lines.map((line) => {
    const { x, y } = page.story.curves[line.of];
    const values = y[line.metric], error = line.error ? y[line.error] : null;
    // A metric that came late, or isn't of every step, begins where it begins.
    const known = x.map((_, at) => at).filter((at) => values[at] !== null);
    const of = (column) => known.map((at) => column[at]);
    const errors = error ? of(error) : null, own = of(values);
    const shifted = (sign) => errors?.map((one, at) => (one === null ? null : own[at] + sign * one)) ?? null;
    return { label: line.label, colour: line.colour, x: of(x), y: own, error: errors, low: shifted(-1), high: shifted(1) };
  });
  const metrics = panel.lines.map((line) => line.metric);
  return { ...panel, series, metrics, wide, overSteps: true, x: { label: "step" } };
}

function chartOf(spec) {
  const chart = new Chart(spec, page);
  page.charts.push(chart);
  seen.observe(chart.plot);
  return chart.figure;
}

function grid(panels, wide) {
  return element("div", { class: wide ? "grid one" : "grid" }, ...panels.map((panel) => chartOf(overSteps(panel, wide))));
}

function sectionOf({ id, title, short, lead, panels = [], plots = [], tables = [], folded = [], wide = false }) {
  const body = [element("h2", { id: `${id}-title` }, title), lead ? element("p", { class: "lead" }, lead) : null];
  if (panels.length) body.push(grid(panels, wide));
  const [before, after] = plots.length ? [tables, []] : [[], tables];
  body.push(...before.map(table));
  if (plots.length) body.push(element("div", { class: "grid" }, ...plots.map((plot) => chartOf({ metrics: [], ...plot }))));
  body.push(...after.map(table));
  for (const fold of folded) {
    const details = element("details", { class: "fold", "data-key": `${id} ${fold.title}` }, element("summary", {}, fold.title));
    const fill = () => {
      if (details.children.length > 1) return;
      if (fold.panels?.length) details.append(grid(fold.panels, false));
      if (fold.plots?.length) details.append(element("div", { class: "grid" }, ...fold.plots.map((plot) => chartOf({ metrics: [], ...plot }))));
      details.append(...(fold.tables ?? []).map(table));
    };
    details.addEventListener("toggle", () => details.open && fill());
    if (fold.open) { fill(); details.open = true; }
    body.push(details);
  }
  return element("section", { id, "data-short": short, "aria-labelledby": `${id}-title` }, ...body);
}

function head() {
  const { state, facts, made_unix_seconds: made, settings } = page.story;
  const [name, tone] = STATES[state.name] ?? [state.name, ""];
  const left = state.eta_unix_seconds ? `about ${told_seconds(Math.max(0, state.eta_unix_seconds - made))} to go` : null;
  const steps = state.step === null ? null : `step ${told(state.step)}${state.steps ? ` of ${told(state.steps)}` : ""}`;
  const parts = [steps, state.stage ? `stage ${state.stage}` : null, state.detail || null, left].filter(Boolean);
  byId("state").replaceChildren(...(name ? [element("span", { class: `pill ${tone}` }, name), " "] : []), parts.join(" · "));
  byId("progress").hidden = !state.steps;
  const share = state.name === "finished" ? 1 : Math.min(1, (state.step ?? 0) / (state.steps || 1));  // stages may end early
  byId("progress").firstElementChild.style.width = `${100 * share}%`;
  byId("facts").replaceChildren(...facts.map(([what, value, beside]) => element("div", {},
    element("dt", {}, what), element("dd", { class: "value" }, value.replace(/-/g, "\u2212")), element("dd", { class: "beside" }, beside))));
  byId("made").textContent = `Written ${new Date(made * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC from ${page.story.folder}. ` +
    "Numbers here have five digits; metrics.jsonl has them exactly. A smoothed line is the mean of the steps around; the pale one is every step.";
  byId("settings").hidden = !settings;
  byId("settings-text").textContent = settings;
}

function key() {
  const line = (attributes) => drawn("svg", { width: 16, height: 12, "aria-hidden": "true" }, attributes);
  const marks = [
    [page.stages().length > 1, drawn("rect", { class: "band", width: 16, height: 12 }), "every other stage"],
    [page.resets().length, drawn("line", { class: "reset", x1: 8, x2: 8, y1: 0, y2: 12 }), "reset"],
    [page.restarts().length, drawn("circle", { class: "restart", cx: 8, cy: 6, r: 3 }), "start of an attempt"],
    [page.alarms().length, drawn("path", { class: "alarm", d: "M8 1l4.5 9h-9z" }), "alarm"],
  ];
  byId("key").replaceChildren(...marks.filter(([there]) => there).map(([, mark, text]) => element("li", {}, line(mark), text)));
}

function navigation() {
  const sections = [...document.querySelectorAll("main section")].filter((one) => !one.hidden);
  byId("sections-nav").replaceChildren(...sections.map((one) =>
    element("li", {}, element("a", { href: `#${one.id}` }, one.dataset.short ?? one.querySelector("h2").textContent))));
}

/** Draw everything anew from `story`, leaving the reader where he is. */
function show(story) {
  const isFirst = page.story === null;
  const open = new Set([...document.querySelectorAll("#story details[open][data-key]")].map((one) => one.dataset.key));
  const focused = page.charts.findIndex((chart) => chart.plot === document.activeElement);
  page.story = story;
  seen.disconnect();
  page.charts = [];
  if (isFirst) byId("smoothing").value = memory.get("smoothing") ?? (story.curves.steps.x.length > 150 ? "light" : "none");
  head();
  key();
  byId("story").replaceChildren(...story.sections.map(sectionOf));
  for (const fold of document.querySelectorAll("#story details[data-key]")) if (open.has(fold.dataset.key)) fold.open = true;
  page.choose(...(page.chosen ?? page.all()));
  if (focused >= 0) page.charts[focused]?.plot.focus({ preventScroll: true });
}

function listenToView() {
  const read = () => page.choose(+byId("from").value, +byId("to").value);
  byId("from").addEventListener("change", read);
  byId("to").addEventListener("change", read);
  byId("view").addEventListener("submit", (event) => event.preventDefault());
  byId("view").addEventListener("reset", (event) => { event.preventDefault(); page.choose(...page.all()); });
  byId("smoothing").addEventListener("change", () => { memory.set("smoothing", page.smoothing()); page.redraw(); });
  new ResizeObserver(debounced(page.redraw)).observe(document.body);
  const here = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const link = document.querySelector(`nav a[href="#${target.id}"]`);
      if (!isIntersecting || !link) {
        link?.removeAttribute("aria-current");
        continue;
      }
      link.setAttribute("aria-current", "true");
      const list = byId("sections-nav");
      list.scrollLeft = link.offsetLeft - list.offsetLeft - (list.clientWidth - link.clientWidth) / 2;
    }
  }, { rootMargin: "-20% 0px -70%" });
  page.watchSections = () => {
    here.disconnect();
    document.querySelectorAll("main section").forEach((one) => here.observe(one));
  };
}

function listenToTheme() {
  const apply = (theme) => {
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  const kept = memory.get("theme") ?? "auto";
  byId("theme").value = kept;
  apply(kept);
  byId("theme").addEventListener("change", ({ target }) => { memory.set("theme", target.value); apply(target.value); });
}

/** `blocks`: {story, samples, texts}, packed. */
async function load(blocks) {
  show(await unpacked(blocks.story));
  await new Samples(await unpacked(blocks.samples), blocks.texts).show();
  navigation();
  page.watchSections();
}

async function begin() {
  listenToTheme();
  listenToView();
  const text = (id) => byId(id).textContent;
  await load({
    story: text("data-story"), samples: text("data-samples"),
    texts: [...document.querySelectorAll("script.data-texts")].map((one) => one.textContent),
  });
  followNews(JSON.parse(text("data-live")));
  if (location.hash) byId(location.hash.slice(1))?.scrollIntoView();
  document.documentElement.dataset.ready = Math.round(performance.now());
}

begin().catch((error) => {
  byId("state").textContent = typeof DecompressionStream === "undefined"
    ? "This browser is too old for this page: it can't unpack its data. Browsers from 2024 on can."
    : `The page can't show its data: ${error}. Write it anew with prorl report.`;
  throw error;
});
