// The view in which somebody decides where readers do not agree.

import { makeClassButtons, commandButton, makeComment } from "./answers.js";
import * as api from "./api.js";
import { announce, count, fill, h } from "./dom.js";
import { makeId } from "./memory.js";
import { picture } from "./pictures.js";
import { openHelp, openSettings } from "./settings.js";
import { followKeys, makeTools } from "./tools.js";
import { Viewer } from "./viewer.js";

const HOW = "One key decides: it is saved, and the next image comes at once. Back shows the last one again, and another " +
  "decision takes the place of the one before.";
// Who decides cannot leave it open, and sees what was said already.
const NAMES = { skip: "Next", undo: "Back, to decide anew", "cannot-tell": null, similar: null };

/** Show the view in `root`; a function that ends it. */
export function showDisagreements(root, { about, keys, bar, signedOut }) {
  const viewer = new Viewer();
  const tools = makeTools(viewer, keys);
  const comment = makeComment();
  const buttons = makeClassButtons(about.classes, keys, decide);
  const commands = [
    commandButton(keys, "skip", "Next", () => go(1)),
    commandButton(keys, "undo", "Back", () => go(-1)),
    commandButton(keys, "comment", "Comment", () => comment.open()),
  ];
  const voices = h("ul", { class: "voices", "aria-label": "What was said" });
  const where = h("p", { class: "hint" });
  const note = h("p", { class: "note" });
  const problem = h("p", { class: "problem", role: "alert" });
  const empty = h("div", { class: "empty", role: "status" });
  fill(root, h("main", { class: "reading" }, h("h1", { class: "unseen" }, "Decide where readers do not agree"),
    h("div", { class: "place" }, viewer.element, empty, tools.element),
    h("section", { class: "side", "aria-label": "Readers and decision" }, where, voices, note, buttons.element,
      h("div", { class: "commands" }, commands.map(({ button }) => button)), comment.element, problem)));

  const ends = new AbortController();
  let [items, after, at, busy] = [[], null, 0, true];
  let [total, undecided] = [0, 0];
  let attempt = {};

  async function load() {
    busy = true;
    try {
      const found = await api.disagreements(after);
      items = [...items, ...found.items];
      ({ after, total, undecided } = found);
      problem.textContent = "";
    } catch (failure) {
      if (failure.status === 401) signedOut();
      problem.textContent = failure.message;
      setTimeout(() => ends.signal.aborted || load(), 3000);
      return;
    }
    busy = false;
    await show();
  }

  async function show() {
    const item = items[at];
    where.textContent = item ? `${at + 1} of ${total}  ·  ${undecided} to decide` : "";
    note.textContent = item && item.decided !== null ? `Decided: ${item.decided}. Another class replaces this.` : "";
    fill(voices, item ? item.reads.map(voice) : []);
    comment.text = "";
    enable(false);
    if (!item) {
      viewer.show(null);
      const back = `${keys.cap("undo")} goes back: a decision can be replaced by another one.`;
      const [title, more] = undecided ? ["End of the list", `${count(undecided, "image")} left to decide. ${back}`]
        : items.length ? ["All decided", `Nothing is left on which readers do not agree. ${back}`]
          : ["Readers agree", "There is no image on which they do not."];
      fill(empty, h("h2", {}, title), h("p", {}, more));
      return;
    }
    fill(empty);
    try {
      const found = await picture(item.item);
      if (items[at] !== item || ends.signal.aborted) return;
      viewer.show(found);
      enable(true);
    } catch (failure) {
      viewer.show(null);
      fill(empty, h("p", {}, failure.message));
    }
    if (items[at + 1]) picture(items[at + 1].item).catch(() => {});
  }

  function enable(enabled) {
    const decided = items[at]?.decided ?? null;
    const labels = (items[at]?.reads ?? []).map(({ label }) => label).filter((label) => label !== null);
    const voices = (label) => labels.filter((each) => each === label).length;
    const marks = new Map(labels.map((label) => [label, [count(voices(label), "reader")]]));
    buttons.update(enabled, decided === null ? null : about.classes.indexOf(decided), marks);
    commands[1].button.disabled = at === 0;
    commands[0].button.disabled = !items[at];
    commands[2].button.disabled = !enabled;
  }

  function voice({ reader, label, comment: text, seconds }) {
    return h("li", {}, h("span", { class: "who", dir: "auto" }, reader),
      h("span", { class: "what", dir: "auto" }, label ?? "cannot tell"),
      seconds === null ? null : h("span", { class: "hint" }, `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`),
      text ? h("p", { dir: "auto" }, text) : null);
  }

  async function decide(label) {
    const item = items[at];
    if (busy || !item || viewer.picture?.item !== item.item) return;
    busy = true;
    // The same decision has the same id however often it is tried.
    const said = { item: item.item, label, comment: comment.text };
    if (JSON.stringify(said) !== JSON.stringify(attempt.said)) attempt = { said, id: makeId() };
    try {
      await api.decide({ client_id: attempt.id, ...said });
      attempt = {};
      if (item.decided === null) undecided = Math.max(undecided - 1, 0);
      item.decided = about.classes[label];
      problem.textContent = "";
      announce(`Decided: ${about.classes[label]}`);
    } catch (failure) {
      if (failure.status === 401) signedOut();
      problem.textContent = `This was not saved. ${failure.message}`;
      busy = false;
      return;
    }
    busy = false;
    go(1);
  }

  function go(step) {
    if (busy) return;
    at = Math.min(Math.max(at + step, 0), items.length);
    if (at >= items.length && after) load();
    else show();
  }

  function say(text) {
    note.textContent = text;
    announce(text);
  }

  const refresh = () => {
    enable(Boolean(viewer.picture));
    commands.forEach((each) => each.update());
  };
  const runs = {
    skip: () => go(1),
    undo: () => go(-1),
    comment: () => viewer.picture && comment.open(),
    "cannot-tell": () => say(`Who decides names a class; ${keys.cap("skip")} leaves this image for later.`),
    help: () => openHelp(keys, HOW, NAMES),
    settings: () => openSettings(keys, refresh),
    unknown: say,
  };
  followKeys(keys, viewer, runs, decide, ends.signal);
  Object.assign(bar, { onhelp: runs.help, onsettings: runs.settings });
  enable(false);
  load();
  return () => ends.abort();
}
