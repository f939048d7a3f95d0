// The row of tools below an image.

import { h } from "./dom.js";
import { namesOf } from "./keys.js";
import { applyScaling } from "./settings.js";

// Brightness and contrast of colours, in doublings, so that the middle is how the image came.
const MOST = 1.5;

/** Buttons and sliders for `viewer`; `run` does a command of the keys, as "reset". */
export function makeTools(viewer, keys) {
  const button = (action, label, run, sign = label) => h("button", {
    type: "button", class: "tool", onclick: run, "aria-label": label, title: `${label}  ${keys.cap(action)}`,
  }, sign);
  const size = h("output", { class: "size", "aria-label": "Size" });
  const invert = button("invert", "Invert", () => viewer.setLight({ invert: !viewer.light.invert }));
  const scaling = button("scaling", "Smooth", () => (applyScaling(true), update()));
  const reset = button("reset", "Reset", () => viewer.reset());
  const slider = (change) => h("input", { type: "range", oninput: ({ target }) => change(Number(target.value)) });
  const grey = () => viewer.grey;
  const first = slider((value) => viewer.setLight(grey() ? { centre: value } : { brightness: 2 ** value }));
  const second = slider((value) => viewer.setLight(grey() ? { window: value } : { contrast: 2 ** value }));
  const names = [h("span"), h("span")];
  const set = (input, name, text, min, max, step, value) => {
    Object.assign(input, { min, max, step, value });
    name.textContent = text;
  };

  function update() {
    const { light, picture } = viewer;
    for (const each of element.querySelectorAll("button, input")) each.disabled = !picture;
    size.textContent = picture ? `${Math.round(viewer.scale * devicePixelRatio * 100)} %` : "";
    const about = grey();
    if (about) {
      const range = Math.max(about.highest - about.lowest + 1, about.window, 2);
      set(first, names[0], "Level", Math.min(about.lowest, about.centre), Math.max(about.highest, about.centre), 1,
        light.centre);
      set(second, names[1], "Window", 1, range, 1, light.window);
    } else {
      set(first, names[0], "Brightness", -MOST, MOST, 0.05, Math.log2(light.brightness));
      set(second, names[1], "Contrast", -MOST, MOST, 0.05, Math.log2(light.contrast));
    }
    invert.setAttribute("aria-pressed", String(light.invert));
    scaling.setAttribute("aria-pressed", String(document.documentElement.dataset.scaling === "smooth"));
    reset.disabled = !viewer.isAdjusted && viewer.fitted;
  }

  const element = h("div", { class: "tools", role: "group", "aria-label": "Tools for the image" },
    h("div", { class: "group" },
      button("zoom-out", "Zoom out", () => viewer.zoom(0.8), "−"), size,
      button("zoom-in", "Zoom in", () => viewer.zoom(1.25), "+"),
      button("fit", "Fit", () => viewer.toggleFit())),
    h("div", { class: "group" }, h("label", {}, names[0], first), h("label", {}, names[1], second)),
    h("div", { class: "group" }, invert, scaling, reset));
  viewer.addEventListener("changed", update);
  update();
  return { element, update };
}

const STEP = 60;
const PANS = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };

/** Do what a command says to the view; false where it says something else. */
function runTool(action, viewer) {
  const runs = {
    "zoom-in": () => viewer.zoom(1.25),
    "zoom-out": () => viewer.zoom(0.8),
    fit: () => viewer.toggleFit(),
    brighter: () => viewer.adjust(0.05, 0),
    darker: () => viewer.adjust(-0.05, 0),
    invert: () => viewer.setLight({ invert: !viewer.light.invert }),
    reset: () => viewer.reset(),
    scaling: () => (applyScaling(true), viewer.pan(0, 0)),
  };
  if (!Object.hasOwn(runs, action)) return false;
  runs[action]();
  return true;
}

/** Move a zoomed image with the arrow keys; false where there is nothing to move. */
function panByKey({ key }, viewer) {
  if (!PANS[key] || !viewer.picture || viewer.fitted) return false;
  viewer.pan(...PANS[key]);
  return true;
}

/** Whether a key is for what has the focus, and not for the page. */
function isTyping(event) {
  const { target, ctrlKey, metaKey, altKey } = event;
  if ((ctrlKey || metaKey || altKey) && !event.getModifierState("AltGraph")) return true;
  if (document.querySelector("dialog[open]") || event.isComposing) return true;
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement && target.type === "range") {
    return /^(Arrow|Page|Home|End)/.test(event.key);
  }
  return target.matches("input, textarea, select");
}

/** Do what keys mean: tools for the view, `runs` by the names of commands, `choose(index)` for a class, and
 * `runs.unknown(why)` for a digit that means nothing. */
export function followKeys(keys, viewer, runs, choose, signal) {
  document.addEventListener("keydown", (event) => {
    if (isTyping(event)) return;
    const action = keys.meaning(event);
    const isTool = panByKey(event, viewer) || (action && runTool(action, viewer));
    if (action || isTool) event.preventDefault();
    // A key that is held down is one answer.
    if (isTool || event.repeat) return;
    if (!action) {
      const [name] = namesOf(event);
      if (/^\d$/.test(name)) runs.unknown(`${name} is no class here.`);
    } else if (action.startsWith("class:")) choose(Number(action.slice(6)));
    else runs[action]?.();
  }, { signal });
}
