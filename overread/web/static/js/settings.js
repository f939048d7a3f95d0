// What a reader may change: the look, and the keys.

import { fill, h } from "./dom.js";
import { isFree, namesOf } from "./keys.js";
import { keep, recall } from "./memory.js";

const THEMES = [["dark", "Dark"], ["light", "Light"], ["auto", "As the system"]];
const SCALINGS = [["smooth", "Smooth"], ["pixelated", "Pixels"]];
const light = matchMedia("(prefers-color-scheme: light)");

/** Show the theme that was chosen; dark, where none was. */
export function applyTheme() {
  const chosen = recall("theme", "dark");
  document.documentElement.dataset.theme = chosen === "auto" ? (light.matches ? "light" : "dark") : chosen;
}
light.addEventListener("change", applyTheme);

/** Show small images smooth or with their pixels, as was chosen; `change`: the other way. */
export function applyScaling(change = false) {
  let chosen = recall("scaling", "smooth");
  if (change) keep("scaling", (chosen = chosen === "smooth" ? "pixelated" : "smooth"));
  document.documentElement.dataset.scaling = chosen;
  return chosen;
}

/** A dialog on top of the page; `onclose` when it is left. */
export function openDialog(title, content, onclose = () => {}) {
  const close = h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Close");
  const dialog = h("dialog", { "aria-label": title, onclose: () => (dialog.remove(), onclose()) },
    h("header", {}, h("h2", {}, title), close), content);
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

function choice(legend, name, options, apply) {
  const chosen = document.documentElement.dataset;
  const now = name === "theme" ? recall("theme", "dark") : chosen.scaling;
  return h("fieldset", { class: "choice" }, h("legend", {}, legend), options.map(([value, label]) =>
    h("label", {},
      h("input", { type: "radio", name, value, checked: value === now, onchange: () => (keep(name, value), apply()) }),
      label)));
}

/** The settings; `changed` is called when they are left. */
export function openSettings(keys, changed) {
  const said = h("p", { class: "hint", role: "status" }, "Choose a key to change it, then press the new one.");
  const list = h("ul", { class: "keys" });
  let waiting = null;

  const show = () => fill(list, keys.actions.map(({ action, label }) => {
    const cap = waiting === action ? "press a key" : keys.cap(action) || "none";
    return h("li", {}, h("span", { class: "name" }, label),
      h("button", { type: "button", class: "remap", "data-action": action, "aria-pressed": String(waiting === action),
        "aria-label": `Key of ${label}: ${cap}`, onclick: () => ask(action) }, h("kbd", {}, cap)));
  }));
  const focus = (action) => list.querySelector(`[data-action="${CSS.escape(action)}"]`)?.focus();
  const ask = (action) => {
    waiting = action;
    show();
    focus(action);
  };

  const listen = (event) => {
    if (!waiting || event.key === "Tab") return;
    event.preventDefault();
    event.stopPropagation();
    const action = waiting;
    const [name] = namesOf(event);
    if (event.key === "Shift" || event.key === "AltGraph") return;
    if (event.key === "Escape") {
      said.textContent = "Nothing was changed.";
    } else if (!isFree(name)) {
      said.textContent = "This key has a meaning of its own on every page: press another one.";
      return;
    } else {
      const taken = keys.set(action, name);
      said.textContent = taken
        ? `“${name.toUpperCase()}” means “${taken}” already: choose another key, or give that one another first.`
        : "Changed.";
    }
    waiting = null;
    show();
    focus(action);
  };

  const again = h("button", { type: "button", class: "quiet", onclick: () => {
    keys.forget();
    said.textContent = "All keys are as they were in the beginning.";
    show();
  } }, "Keys as in the beginning");
  show();
  const dialog = openDialog("Settings", h("div", { class: "settings" },
    choice("Theme", "theme", THEMES, applyTheme),
    choice("Images larger than their pixels", "scaling", SCALINGS, applyScaling),
    h("h3", {}, "Keys"), said, list, again), changed);
  dialog.addEventListener("keydown", listen, true);
  dialog.addEventListener("cancel", (event) => waiting && event.preventDefault());
}

const HOW = "One key is one answer: it is saved, and the next image comes at once. Undo takes the last one back.";

/** All keys at a glance; `how`: what they are good for; `names`: what commands are called here, null where they are none. */
export function openHelp(keys, how = HOW, names = {}) {
  const row = ({ action, label }) =>
    h("li", {}, h("kbd", {}, keys.cap(action) || "–"), h("span", { class: "name" }, names[action] ?? label));
  const [classes, others] = [keys.actions.filter(isClass), keys.actions.filter((each) => !isClass(each))];
  const commands = others.filter(({ action }) => names[action] !== null);
  openDialog("Keys", h("div", { class: "help" },
    h("p", {}, how),
    h("section", {}, h("h3", {}, "Answers"), h("ul", { class: "keys" }, classes.map(row))),
    h("section", {}, h("h3", {}, "Everything else"), h("ul", { class: "keys" }, commands.map(row))),
    h("section", {}, h("h3", {}, "The image"), h("ul", { class: "keys" },
      [["Wheel, pinch", "Zoom"], ["Double click", "Whole image / 100 %"], ["Drag, arrow keys", "Move, when zoomed"],
        ["Right drag", "Brightness and contrast"]].map(([cap, label]) =>
        h("li", {}, h("kbd", {}, cap), h("span", { class: "name" }, label)))))));
}

const isClass = ({ action }) => action.startsWith("class:");
