// The view in which somebody decides where readers do not agree.

import { makeClassButtons, commandButton, makeComment } from "./answers.js";
import * as api from "./api.js";
import { announce, count, fill, h } from "./dom.js";
import { makeId } from "./memory.js";
import { picture } from "./pictures.js";
import { openHelp, openSettings } from "./settings.js";
import { followKeys, makeTools } from "./tools.js";
import { Viewer } from "./viewer.js";

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
  const problem = h("p", { class: "problem", role: "alert" });
  const empty = h("div", { class: "empty", role: "status" });
  fill(root, h("main", { class: "reading" }, h("h1", { class: "unseen" }, "Decide where readers do not agree"),
    h("div", { class: "place" }, viewer.element, empty, tools.element),
    h("section", { class: "side", "aria-label": "Readers and decision" }, where, voices, buttons.element,
      h("div", { class: "commands" }, commands.map(({ button }) => button)), comment.element, problem)));

  const ends = new AbortController();
  let [items, after, at, busy] = [[], null, 0, true];
  let attempt = {};

  async function load() {
    busy = true;
    try {
      const found = await api.disagreements(after);
      items = [...items, ...found.items];
      after = found.after;
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
    const open = items.filter(({ decided }) => decided === null).length;
    const more = after ? "+" : "";
    where.textContent = item ? `${at + 1} of ${items.length}${more}  ·  ${open}${more} to decide` : "";
    fill(voices, item ? item.reads.map(voice) : []);
    comment.text = "";
    enable(false);
    if (!item) {
      viewer.show(null);
      const [title, more] = open ? ["End of the list", `${count(open, "image")} left to decide.`]
        : items.length ? ["All decided", "Nothing is left on which readers do not agree."]
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
    commands[0].button.disabled = !items.length;
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

  const refresh = () => {
    enable(Boolean(viewer.picture));
    commands.forEach((each) => each.update());
  };
  const runs = {
    skip: () => go(1),
    undo: () => go(-1),
    comment: () => comment.open(),
    help: () => openHelp(keys, () => {}),
    settings: () => openSettings(keys, refresh),
  };
  followKeys(keys, viewer, runs, decide, ends.signal);
  Object.assign(bar, { onhelp: runs.help, onsettings: runs.settings });
  enable(false);
  load();
  return () => ends.abort();
}
