/* The browser of sampled answers. The small table of all of them is there at once; texts are unpacked when needed. */

const PER_PAGE = 20;
const FILTERS = ["domain", "outcome", "task", "from", "finish_reason"];
const OUTCOMES = {
  right: ["right", "good"], partly: ["partly right", "mid"], wrong: ["wrong", "bad"], no_answer: ["no answer", "bad"],
  timeout: ["verifier timed out", "mid"], error: ["verifier failed", "mid"],
};
const FINISHES = { stop: "an end token", length: "the limit: cut", abort: "the engine", unknown: "unknown" };

class Samples {
  /** `index` as PackedSamples has it; `chunks`: the packed texts. */
  constructor(index, chunks) {
    Object.assign(this, { index, chunks, texts: new Map(), pageNumber: 0, search: 0 });
    this.size = index.count;
    this.outcome = index.outcome.of.map((name, at) => {
      const outcome = index.outcome.names[name];
      if (outcome !== "scored") return outcome;
      return index.reward[at] >= 0.99 ? "right" : index.reward[at] > 0 ? "partly" : "wrong";
    });
  }

  /** What an answer is called under a filter. */
  value(filter, at) {
    return filter === "outcome" ? this.outcome[at] : this.index[filter].names[this.index[filter].of[at]];
  }

  /** The texts of one answer: {prompt, response, reason, uid}, each whole or [beginning, letters left out, end]. */
  async text(at) {
    const chunk = await this.chunk(Math.floor(at / this.index.chunk));
    const [prompt, response, reason, uid] = chunk.rows[at % this.index.chunk];
    return { prompt: chunk.prompts[prompt], response, reason, uid };
  }

  chunk(number) {
    if (!this.texts.has(number)) this.texts.set(number, unpacked(this.chunks[number]));
    return this.texts.get(number);
  }

  chosen() {
    const wanted = FILTERS.map((filter) => [filter, byId(`by-${filter}`).value]).filter(([, value]) => value);
    const found = [];
    for (let at = 0; at < this.size; at++) if (wanted.every(([filter, value]) => this.value(filter, at) === value)) found.push(at);
    const { step, reward, response_tokens: length } = this.index;
    const orders = {
      newest: (a, b) => step[b] - step[a] || a - b, oldest: (a, b) => step[a] - step[b] || a - b, longest: (a, b) => length[b] - length[a],
      best: (a, b) => reward[b] - reward[a] || b - a, worst: (a, b) => reward[a] - reward[b] || b - a,
    };
    return found.sort(orders[byId("order").value]);
  }

  /** Find what is asked for and show its first page. A newer question ends the search of an older one. */
  async find({ keepPage = false } = {}) {
    const mine = ++this.search;
    const words = byId("find").value.trim();
    let found = this.chosen();
    if (words) {
      const pattern = new RegExp(words.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "iu");
      const hits = new Set();
      for (let number = 0; number < this.chunks.length; number++) {
        if (mine !== this.search) return;
        byId("count").textContent = `Searching: ${Math.round((100 * number) / this.chunks.length)} %`;
        const { prompts, rows } = await this.chunk(number);
        const asked = prompts.map((prompt) => pattern.test(whole(prompt)));
        rows.forEach((row, place) => {
          if (asked[row[0]] || row.slice(1).some((text) => pattern.test(whole(text)))) hits.add(number * this.index.chunk + place);
        });
      }
      found = found.filter((at) => hits.has(at));
    }
    if (mine !== this.search) return;
    this.found = found;
    await this.turn(keepPage ? this.pageNumber : 0);
  }

  async turn(number) {
    const pages = Math.max(1, Math.ceil(this.found.length / PER_PAGE));
    this.pageNumber = Math.min(Math.max(number, 0), pages - 1);
    const start = this.pageNumber * PER_PAGE, shown = this.found.slice(start, start + PER_PAGE);
    const open = new Set([...document.querySelectorAll("#answers details[open]")].map((one) => one.dataset.key));
    const texts = await Promise.all(shown.map((at) => this.text(at)));
    byId("answers").replaceChildren(...shown.map((at, place) => this.answer(at, texts[place], open)));
    const all = this.found.length === this.size ? `${told(this.size)} answers` : `${told(this.found.length)} of ${told(this.size)} answers`;
    byId("count").textContent = this.found.length ? `${all}; ${told(start + 1)} to ${told(start + shown.length)} are shown.` : `${all}: nothing fits. Clear a filter or search for less.`;
    byId("page-number").textContent = `page ${told(this.pageNumber + 1)} of ${told(pages)}`;
    byId("previous").disabled = this.pageNumber === 0;
    byId("next").disabled = this.pageNumber === pages - 1;
  }

  answer(at, texts, open) {
    const { index } = this;
    const [name, tone] = OUTCOMES[this.outcome[at]] ?? [this.outcome[at], ""];
    const domain = this.value("domain", at), finish = this.value("finish_reason", at);
    const key = `${index.step[at]} ${whole(texts.uid)} ${at}`;
    const cut = finish === "length" ? element("span", { class: "pill" }, "cut") : null;
    const summary = element("summary", {},
      element("span", { class: "step" }, `step ${told(index.step[at])}`),
      element("span", { class: `pill ${tone}` }, this.outcome[at] === "partly" ? `${name}: ${told(index.reward[at])}` : name), cut,
      element("span", { class: `domain ${domain}` }, domain === this.value("task", at) ? domain : `${domain} · ${this.value("task", at)}`),
      element("span", { class: "first", dir: "auto" }, whole(texts.response).trim().slice(0, 160) || "(empty)"));
    const fold = element("details", { class: "answer", "data-key": key }, summary);
    const fill = () => fold.children.length > 1 || fold.append(this.inside(at, texts, finish));
    fold.addEventListener("toggle", () => fold.open && fill());
    if (open.has(key)) { fill(); fold.open = true; }
    return fold;
  }

  inside(at, texts, finish) {
    const { index } = this;
    const facts = [
      ["reward", told(index.reward[at]) + (index.shaped_reward[at] === index.reward[at] ? "" : `, after shaping ${told(index.shaped_reward[at])}`)],
      ["verdict", whole(texts.reason) || "no reason given"], ["ended by", FINISHES[finish] ?? finish],
      ["length", `${told(index.response_tokens[at])} tokens after ${told(index.prompt_tokens[at])} of the prompt`],
      ["from", this.value("from", at)], ["problem", whole(texts.uid)],
    ];
    return element("div", { class: "inside" },
      element("h3", {}, "Prompt"), passage(texts.prompt, "prompt"), element("h3", {}, "Response"), passage(texts.response, "response"),
      element("h3", {}, "Verdict"), element("dl", { class: "verdict" }, ...facts.flatMap(([what, text]) =>
        [element("dt", {}, what), element("dd", { dir: "auto" }, text)])));
  }

  /** Fill the lists of the filters, keeping what was chosen, and say what is here. */
  offer() {
    for (const filter of FILTERS) {
      const list = byId(`by-${filter}`), before = list.value;
      const counts = new Map();
      for (let at = 0; at < this.size; at++) counts.set(this.value(filter, at), (counts.get(this.value(filter, at)) ?? 0) + 1);
      const named = { outcome: (name) => OUTCOMES[name]?.[0] ?? name, finish_reason: (name) => FINISHES[name] ?? name }[filter] ?? ((name) => name);
      const names = filter === "outcome" ? Object.keys(OUTCOMES).filter((name) => counts.has(name)).concat([...counts.keys()].filter((name) => !OUTCOMES[name])) : [...counts.keys()].sort();
      list.replaceChildren(element("option", { value: "" }, "all"), ...names.map((name) => element("option", { value: name }, `${named(name)} (${told(counts.get(name))})`)));
      list.value = counts.has(before) ? before : "";
    }
    const { total, limit, cut } = this.index;
    const some = total > this.size ? ` ${told(total)} were recorded; every ${told(Math.round(total / this.size))}. is here, for all would make the page too heavy.` : "";
    const short = cut ? ` Of ${told(cut)} the middle of long texts is left out, beyond ${told(limit)} characters; the search doesn't look there. The files have them whole.` : "";
    byId("samples-lead").textContent = `What the policy was asked and answered, in training, validation and evaluation: a part of it, as the files of samples have it.${some}${short}`;
  }

  listen() {
    const again = () => Samples.current.find();
    byId("filters").addEventListener("change", (event) => event.target.id === "find" || again());
    byId("filters").addEventListener("submit", (event) => { event.preventDefault(); again(); });
    byId("filters").addEventListener("reset", () => setTimeout(again));
    byId("find").addEventListener("input", debounced(again, 250));
    const turn = async (by) => {
      await Samples.current.turn(Samples.current.pageNumber + by);
      byId("samples").scrollIntoView();
    };
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
  }

  /** Take the place of what is shown now, if anything is. */
  async show() {
    const isFirst = !Samples.current;
    Samples.current = this;
    byId("samples").hidden = !this.size;
    if (!this.size) return;
    this.offer();
    if (isFirst) this.listen();
    await this.find({ keepPage: !isFirst });
  }
}

/** A text with what is left out of it told in its place. */
const whole = (text) => (typeof text === "string" ? text : `${text[0]} … ${text[2]}`);

function passage(text, name) {
  const parts = typeof text === "string" ? [text || "(empty)"] : [
    text[0], element("span", { class: "left-out" }, `… ${told(text[1])} characters are left out here …`), text[2]];
  return element("pre", { dir: "auto", tabindex: "0", role: "group", "aria-label": name }, ...parts);
}
