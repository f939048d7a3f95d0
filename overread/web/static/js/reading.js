// The view in which images are read.

import { commandButton, makeClassButtons, makeComment } from "./answers.js";
import { announce, count, fill, h } from "./dom.js";
import { endOf } from "./end.js";
import { Pace, Watch } from "./pace.js";
import { picture } from "./pictures.js";
import { openHelp, openSettings } from "./settings.js";
import { makeSimilar } from "./similar.js";
import { followKeys, makeTools } from "./tools.js";
import { Viewer } from "./viewer.js";

/** Show the view in `root`; a function that ends it. */
export function showReading(root, { about, keys, desk, outbox, place, bar }) {
  const viewer = new Viewer();
  const tools = makeTools(viewer, keys);
  const pace = new Pace(place);
  const comment = makeComment();
  const similar = makeSimilar();
  const buttons = makeClassButtons(about.classes, keys, (i) => answer("label", i));
  const commands = [
    commandButton(keys, "cannot-tell", "Cannot tell", () => answer("cannot-tell")),
    commandButton(keys, "skip", "Skip", () => answer("skip")),
    commandButton(keys, "undo", "Undo", undo),
    commandButton(keys, "comment", "Comment", () => comment.open()),
    commandButton(keys, "similar", "Similar", () => lookForSimilar()),
  ];
  const said = h("p", { class: "said", "aria-hidden": "true" });
  const assist = h("dl", { class: "assist", hidden: true });
  const sure = h("p", { class: "sure", hidden: true });
  const empty = h("div", { class: "empty", role: "status" });
  const side = h("section", { class: "side", "aria-label": "Answers" },
    assist, buttons.element, h("div", { class: "commands" }, commands.map(({ button }) => button)), comment.element, sure, said,
    similar.element);
  const where = h("div", { class: "place" }, viewer.element, empty, tools.element);
  fill(root, h("main", { class: "reading" }, h("h1", { class: "unseen" }, "Read images"), where, side));

  let shownTask = null;
  let ended = null;
  /** Answers taken back one after the other, and whether one more waits for a second key. */
  let [takenBack, asking] = [0, false];
  const ends = new AbortController();
  const watch = new Watch(ends.signal);

  /** Show the image that is first now. */
  async function update() {
    showProgress();
    const task = desk.current;
    if (task ? task.item === shownTask?.item : ended !== null) {
      if (!task) showEnd();
      return;
    }
    shownTask = task;
    ended = null;
    similar.reset();
    comment.text = desk.before?.comment ?? "";
    showAssistance();
    if (!task) {
      viewer.show(null);
      enable(false);
      showEnd();
      return;
    }
    fill(empty);
    await showPicture(task);
  }

  async function showPicture(task) {
    // While it is not here nobody can answer: the answer would be about another image.
    const slow = setTimeout(() => {
      viewer.show(null);
      fill(empty, h("p", {}, "The image is coming …"));
    }, 150);
    enable(false);
    try {
      const found = await picture(task.item);
      if (shownTask?.item !== task.item) return;
      fill(empty);
      viewer.show(found);
      watch.start();
      enable(true);
    } catch (failure) {
      if (shownTask?.item === task.item) retry(task, failure);
    } finally {
      clearTimeout(slow);
    }
  }

  function retry(task, failure) {
    viewer.show(null);
    // One that cannot be decoded must not stop the reader: he can skip it.
    commands.find(({ button }) => button.dataset.command === "skip").button.disabled = false;
    fill(empty, h("p", {}, failure.message || "The image cannot be shown."),
      h("p", { class: "hint" }, failure.passes ? "It is asked for again and again." : "Skip it, or try again."));
    setTimeout(() => shownTask?.item === task.item && !viewer.picture && !ends.signal.aborted && showPicture(task), 3000);
  }

  function enable(enabled) {
    const before = desk.before;
    buttons.update(enabled, before?.kind === "label" ? before.label : null, marks());
    for (const { button } of commands) {
      const action = button.dataset.command;
      button.disabled = action === "undo" ? false : !enabled;
      button.classList.toggle("before", before?.kind === action);
    }
    said.textContent = before ? "You took this answer back." : said.textContent;
  }

  function marks() {
    const found = new Map();
    const { given, suggested } = desk.current?.shown ?? {};
    if (given) found.set(given, ["given"]);
    if (suggested) found.set(suggested, [...(found.get(suggested) ?? []), "suggested"]);
    return found;
  }

  function showAssistance() {
    const { given, suggested } = desk.current?.shown ?? {};
    assist.hidden = !given && !suggested;
    fill(assist, given ? [h("dt", {}, "Given label"), h("dd", { dir: "auto" }, given)] : [],
      suggested ? [h("dt", {}, "The model suggests"), h("dd", { dir: "auto" }, suggested)] : []);
  }

  function showProgress() {
    const { mine, left, skipped } = desk.progress ?? { mine: 0, left: 0, skipped: 0 };
    const all = mine + left + skipped;
    const today = pace.answersToday;
    bar.update(mine, all, all ? [`${mine} of ${all} for you`, today && `${today} today`, desk.current && pace.left(left)] : []);
  }

  function showEnd() {
    const { title, text, skipped } = endOf(desk, outbox);
    if (ended === `${title} ${text}`) return;
    ended = `${title} ${text}`;
    if (title === null) {
      fill(empty, h("p", { class: "hint" }, text));
      return;
    }
    const today = pace.answersToday ? `${count(pace.answersToday, "answer")} today. Thank you.` : "";
    const again = h("button", { type: "button", class: "main", onclick: () => desk.readSkipped() },
      skipped === 1 ? "Read it now" : "Read them now");
    fill(empty, h("h2", {}, title), h("p", {}, text), skipped ? again : null, h("p", { class: "hint" }, today));
    announce(`${title}. ${text}`);
    if (skipped && !document.querySelector("dialog[open]")) again.focus();
  }

  function answer(kind, label = null) {
    const unreadable = kind === "skip" && desk.current && !viewer.picture;
    if (!desk.current || !(viewer.picture?.item === desk.current.item || unreadable)) return;
    [takenBack, asking] = [0, false];
    showSure();
    const seconds = watch.seconds;
    const name = { "cannot-tell": "Cannot tell", skip: "Skipped" }[kind] ?? about.classes[label];
    if (label !== null) buttons.flash(label);
    said.textContent = `Last answer: ${name}`;
    announce(name);
    if (kind !== "skip") pace.add(seconds);
    desk.answer(kind, label, { comment: comment.text, seconds });
  }

  /** Back to the last image.  Once or twice that mends a slip; further back every step is asked for twice. */
  async function undo() {
    asking = takenBack >= 2 && !asking;
    showSure();
    if (asking) return;
    try {
      const last = await desk.undo();
      if (last) takenBack += 1;
      if (last && last.kind !== "skip") pace.takeBack();
      say(last ? "You took this answer back." : "There is nothing to take back.");
    } catch (failure) {
      say(failure.message);
    }
    showProgress();
  }

  function showSure() {
    sure.hidden = !asking;
    if (!asking) return;
    const text = `You took ${takenBack} answers back, one after the other. ${keys.cap("undo")} again takes back one more; ` +
      "any answer is for the image shown.";
    fill(sure, text, h("button", { type: "button", onclick: undo }, "Take back one more"));
    announce(text);
  }

  function say(text) {
    said.textContent = text;
    announce(text);
  }

  const lookForSimilar = () => viewer.picture && similar.open(viewer.picture.item, (count) => desk.noteSimilar(viewer.picture.item, count));
  const refresh = () => {
    enable(Boolean(viewer.picture));
    commands.forEach((each) => each.update());
    tools.update();
  };
  const runs = {
    skip: () => answer("skip"),
    "cannot-tell": () => answer("cannot-tell"),
    undo,
    comment: () => viewer.picture && comment.open(),
    similar: lookForSimilar,
    help: () => openHelp(keys),
    settings: () => openSettings(keys, refresh),
    unknown: say,
  };

  followKeys(keys, viewer, runs, (i) => answer("label", i), ends.signal);
  bar.onhelp = runs.help;
  bar.onsettings = runs.settings;
  viewer.addEventListener("unreachable", () => (said.textContent = "The grey levels are not here yet: try again."));
  desk.addEventListener("not-undone", () => {
    say("The round of this answer is over, or it was taken back before.  Answer again to change it.");
  }, { signal: ends.signal });
  desk.addEventListener("changed", update, { signal: ends.signal });
  outbox.addEventListener("changed", () => desk.current || update(), { signal: ends.signal });
  outbox.addEventListener("sent", () => announce("Saved"), { signal: ends.signal });
  update();
  desk.refill();
  return () => ends.abort();
}
