// Images that look alike and that somebody has read, on request.

import * as api from "./api.js";
import { fill, h } from "./dom.js";
import { picture } from "./pictures.js";

/** The panel; `open(item, note)` calls `note` with the number of images that it shows. */
export function makeSimilar() {
  const list = h("ul");
  const said = h("p", { class: "hint", role: "status" });
  const element = h("section", { class: "similar", hidden: true, "aria-label": "Similar images" },
    h("h2", {}, "Similar images that were read"), said, list);
  const panel = { element, reset, open };
  let wanted = null;

  function reset() {
    wanted = null;
    element.hidden = true;
    fill(list);
  }

  async function open(item, note) {
    if (wanted === item) {
      element.hidden = !element.hidden;
      return;
    }
    wanted = item;
    element.hidden = false;
    said.textContent = "Looking for them …";
    try {
      const found = await api.similar(item);
      if (wanted !== item) return;
      const figures = await Promise.all(found.map(figure));
      if (wanted !== item) return;
      fill(list, figures);
      note(found.length);
      element.scrollIntoView({ block: "nearest" });
      said.textContent = found.length ? "" : "Nothing that looks like it has been read yet.";
    } catch (failure) {
      if (wanted === item) said.textContent = failure.message;
      wanted = null;
    }
  }
  return panel;
}

async function figure({ item, label, mine }) {
  const { url } = await picture(item);
  const name = label ?? "cannot tell";
  return h("li", {}, h("img", { src: url, alt: `Similar image, read as ${name}` }),
    h("span", { class: "name", dir: "auto" }, name), h("span", { class: "hint" }, mine ? "by you" : "by readers"));
}

