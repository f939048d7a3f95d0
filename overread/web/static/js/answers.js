// The buttons of the classes, and what a reader may say instead.

import { fill, h } from "./dom.js";

const kbd = (cap) => h("kbd", { "aria-hidden": "true" }, cap);

/** Buttons for `classes`; `choose(index)` is called for the one that was pressed. */
export function makeClassButtons(classes, keys, choose) {
  const buttons = classes.map((name, i) => h("button", {
    type: "button", class: "answer", onclick: () => choose(i), "data-class": String(i),
  }));
  const look = `answers${classes.length > 10 ? " many" : ""}`;
  const element = h("div", { class: look, role: "group", "aria-label": "Classes" }, buttons);

  /** Marks: texts at classes, by their names: `{Melanoma: ["given label"]}`. */
  function update(enabled, before = null, marks = new Map()) {
    buttons.forEach((button, i) => {
      const tags = marks.get(classes[i]) ?? [];
      fill(button, kbd(keys.cap(`class:${i}`)), h("span", { class: "text" },
        h("span", { class: "name", dir: "auto" }, classes[i]), tags.map((tag) => h("span", { class: "tag" }, tag))));
      button.setAttribute("aria-keyshortcuts", keys.cap(`class:${i}`) || "None");
      button.disabled = !enabled;
      button.classList.toggle("before", before === i);
    });
  }

  /** Show for a moment which one it was. */
  function flash(i) {
    buttons[i]?.animate?.([{ borderColor: "var(--accent)" }, {}], { duration: 250 });
  }
  update(false);
  return { element, update, flash };
}

/** A smaller button with its key. */
export function commandButton(keys, action, label, run) {
  const button = h("button", { type: "button", class: "command", "data-command": action, onclick: run });
  const update = () => {
    fill(button, kbd(keys.cap(action)), h("span", {}, label));
    button.setAttribute("aria-keyshortcuts", keys.cap(action) || "None");
  };
  update();
  return { button, update };
}

/** The field for a comment, which comes when it is asked for and goes with the answer. */
export function makeComment() {
  const field = h("textarea", { rows: 2, maxLength: 2000, id: "comment", onkeydown: (event) => {
    if (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey && !event.isComposing)) {
      event.preventDefault();
      event.stopPropagation();
      field.blur();
      show();
    }
  } });
  const element = h("div", { class: "comment", hidden: true }, h("label", { htmlFor: "comment" },
    "Comment ", h("span", { class: "hint" }, "goes with the answer; Enter: back to the image")), field);
  const show = () => (element.hidden = !field.value.trim());
  return {
    element,
    open() {
      element.hidden = false;
      field.focus();
    },
    get text() {
      return field.value.trim();
    },
    set text(value) {
      field.value = value;
      show();
    },
  };
}
