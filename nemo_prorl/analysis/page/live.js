/* While `prorl report --watch` runs, two small files lie beside the page. A script can be read from a folder, too, where
   a page may read nothing else. What they say is data: it is shown, never run. */

const news = { stamp: null, last: null, over: false };
let liveName = null;

/** Called by NAME.news.js: which is the newest writing, and when the writer last looked. */
globalThis.prorlNews = ({ stamp, unix_seconds: last, over }) => {
  Object.assign(news, { last, over });
  if (stamp === news.stamp) return;
  news.stamp = stamp;
  fetchScript(`${liveName}.data.js`);
};

/** Called by NAME.data.js, with what the page would hold if it were opened now. */
globalThis.prorlData = (blocks) => load(blocks).then(() => { document.documentElement.dataset.stamp = blocks.stamp; });

/** `live`: null for a page that stays as it is, or {name, every_seconds, stamp}. */
function followNews(live) {
  if (!live) return;
  [liveName, news.stamp] = [live.name, live.stamp];
  document.documentElement.dataset.stamp = live.stamp;
  const look = () => {
    fetchScript(`${liveName}.news.js`);
    const silent = news.last === null ? 0 : Date.now() / 1000 - news.last;
    if (silent > 30 + 4 * live.every_seconds) tell(`No news for ${told_seconds(silent)}: prorl report --watch has ended.`);
    else tell(news.over ? "The run is over; this is its last word." : "Live: it renews itself.");
    if (news.over) clearInterval(timer);
  };
  const timer = setInterval(look, Math.max(1, live.every_seconds / 2) * 1000);
  look();
}

function tell(text) {
  if (!byId("live")) byId("state").after(element("p", { class: "state", id: "live", role: "status" }));
  if (byId("live").textContent !== text) byId("live").textContent = text;
}

function fetchScript(file) {
  const script = element("script", { src: `${encodeURIComponent(file)}?${Date.now()}` });
  script.addEventListener("load", () => script.remove());
  script.addEventListener("error", () => script.remove());
  document.head.append(script);
}
