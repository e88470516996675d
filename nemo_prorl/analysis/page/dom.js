/* Elements, numbers, and the data that the page carries. Text becomes text nodes here and nowhere markup. */

const element = (name, attributes = {}, ...children) => dress(document.createElement(name), attributes, children);
const drawn = (name, attributes = {}, ...children) =>
  dress(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
const byId = (id) => document.getElementById(id);

function dress(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** As a reader wants a number: three or four digits that matter, thousands apart, a true minus. `like`: a number that
    says how many digits matter, where this one belongs to it. */
function told(value, like = value) {
  if (value === null || value === undefined) return "none";
  const size = Math.abs(like);
  let text;
  if (Number.isInteger(value) && value === like && size < 1e9) text = value.toLocaleString("en-US");
  else if (size >= 1e7 || (size < 1e-3 && size > 0)) text = value.toExponential(2);
  else if (size >= 1000) text = value.toLocaleString("en-US", { maximumFractionDigits: 0 });
  else text = value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : size >= 0.1 ? 3 : 4);
  return text.replace(/-/g, "\u2212");
}

/** Text of ours with its hyphens before numbers made minus signs. */
const minus = (text) => text.replace(/(^|[\s(/])-(?=[\d.])/g, "$1\u2212");

function told_seconds(seconds) {
  const minutes = Math.round(seconds / 60);
  if (minutes < 2) return `${Math.round(seconds)} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h${minutes % 60 ? ` ${minutes % 60} min` : ""}` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** What nemo_prorl.analysis.packed made of a value. */
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const debounced = (work, milliseconds = 150) => {
  let waiting;
  return () => {
    clearTimeout(waiting);
    waiting = setTimeout(work, milliseconds);
  };
};

/** What the reader chose stays chosen on the next visit, where the browser keeps anything for such a page. */
const memory = {
  get(name) {
    try { return localStorage.getItem(`prorl-report-${name}`); } catch { return null; }
  },
  set(name, value) {
    try { localStorage.setItem(`prorl-report-${name}`, value); } catch { /* a private window: it isn't kept */ }
  },
};
