// Where the project stands, for its owners.

import * as api from "./api.js";
import { curve } from "./chart.js";
import { count, fill, h } from "./dom.js";
import { openHelp, openSettings } from "./settings.js";

const EVERY = 30_000;
const number = (value, digits = 0) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const percent = (share) => `${number(100 * share)} %`;
const interval = ({ low, high }, form) => (low === null || high === null ? "" : `${form(low)} to ${form(high)}`);

/** Show the view in `root`; a function that ends it. */
export function showProject(root, { keys, bar, signedOut }) {
  const body = h("div", { class: "state" }, h("p", { class: "hint" }, "Counting …"));
  const ends = new AbortController();
  let shown = null;
  fill(root, h("main", { class: "project-view", tabIndex: -1 }, h("h1", {}, "Where the project stands"), body));

  function draw() {
    if (!shown) return;
    const { answered, wanted } = shown.progress ?? { answered: 0, wanted: 0 };
    bar.update(answered, wanted, [wanted && `${answered} of ${count(wanted, "read")} in this round`]);
    // The panel is as wide as the view, but for its padding and border.
    fill(body, tiles(shown), left(shown, body.clientWidth - 42), readers(shown), next(shown));
  }

  async function update() {
    try {
      const state = await api.state();
      shown = state;
      draw();
    } catch (failure) {
      if (!(failure instanceof api.Failure)) throw failure;
      if (failure.status === 401) signedOut();
      if (!body.querySelector(".tiles")) fill(body, h("p", { class: "problem", role: "alert" }, failure.message));
    }
  }
  const timer = setInterval(update, EVERY);
  Object.assign(bar, { onhelp: () => openHelp(keys), onsettings: () => openSettings(keys, () => {}) });
  addEventListener("resize", draw, { signal: ends.signal });
  update();
  return () => {
    clearInterval(timer);
    ends.abort();
  };
}

function tile(name, value, more) {
  return h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, value, more ? h("span", { class: "hint" }, more) : null));
}

function estimate(name, found, form) {
  if (!found || found.estimate === null) return tile(name, "–", "not known yet");
  return tile(name, form(found.estimate), interval(found, form));
}

function tiles({ items, rounds, agreement, disputed, outvoted, unclear, readers }) {
  const estimates = rounds.at(-1)?.estimates;
  const reads = readers.reduce((sum, each) => sum + each.reads, 0);
  return h("dl", { class: "tiles" },
    tile("Reads", number(reads), `in a project of ${count(items ?? 0, "image")}`),
    agreement
      ? tile("Agreement of readers", number(agreement.value, 2),
        [interval(agreement, (value) => number(value, 2)), `alpha over ${count(agreement.n_items, "image")}`]
          .filter(Boolean).join(", "))
      : tile("Agreement of readers", "–", "two readers on one image show it"),
    estimate("Right labels, estimated", estimates?.label_accuracy, percent),
    estimate("Macro-F1 of the model, estimated", estimates?.macro_f1, (value) => number(value, 2)),
    tile("Readers differ, to decide", number(disputed + outvoted), [disputed && `${number(disputed)} without a majority`,
      outvoted && `${number(outvoted)} with one`].filter(Boolean).join(", ")),
    tile("Nobody could tell", number(unclear ?? 0), ""));
}

function left({ rounds }, width) {
  const points = rounds
    .map(({ round, items_read: reads, estimates }) => ({ round, reads, ...estimates?.wrong_labels_left }))
    .filter(({ estimate: value }) => value !== undefined);
  if (!points.some(({ estimate: value }) => value !== null)) return null;
  const now = points.at(-1);
  const name = "Wrong labels left, estimated";
  return h("section", { class: "panel" }, h("h2", {}, name),
    now.estimate === null ? null
      : h("p", { class: "figure" }, h("strong", {}, number(now.estimate)), h("span", { class: "hint" }, interval(now, number))),
    curve(points, name, width),
    h("p", { class: "hint" }, now.reads
      ? "Intervals of 90 %. No truth is known here: the figures rest on what was read, and on the model."
      : "Intervals of 90 %. Nobody's reads are learnt from yet: these are the model's own guesses."));
}

function readers({ readers: all }) {
  const title = h("h2", {}, "Readers");
  if (!all.length) return h("section", { class: "panel" }, title, h("p", { class: "hint" }, "Nobody has read yet."));
  const most = Math.max(...all.map(({ reads }) => reads), 1);
  const row = ({ name, reads, cannot_tell: unsure, agreement }) => h("tr", {},
    h("th", { scope: "row", dir: "auto" }, name),
    h("td", {}, h("span", { class: "count" }, number(reads)),
      h("meter", { min: 0, max: most, value: reads, "aria-label": `Reads of ${name}` })),
    h("td", {}, number(unsure)), h("td", {}, agreement === null ? "–" : percent(agreement)));
  const head = ["Reader", "Reads", "Cannot tell", "Agrees with the others"].map((name) => h("th", { scope: "col" }, name));
  const table = h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, all.map(row)));
  return h("section", { class: "panel" }, title,
    h("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": "Readers" }, table));
}

function next({ next: sentence }) {
  if (!sentence) return null;
  const text = h("p", { class: "next" }, sentence.replace(/^Next: /, ""));
  return h("section", { class: "panel" }, h("h2", {}, "What comes next"), text);
}
