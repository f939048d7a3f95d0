// The bar on top: where one is, how far, and who.

import { fill, h } from "./dom.js";

/** The bar of `person`; `go(view)` and `leave()` are called by its buttons. */
export function makeTop(about, person, views, go, leave) {
  const text = h("span", { class: "numbers" });
  const done = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Reads of this round" });
  const far = h("div", { class: "progress" }, done, text);
  const links = views.map(([view, label]) =>
    h("button", { type: "button", "data-view": view, onclick: () => go(view) }, label));
  const help = h("button", { type: "button", class: "quiet", onclick: () => bar.onhelp?.() }, "Help");
  const settings = h("button", { type: "button", class: "quiet", onclick: () => bar.onsettings?.() }, "Settings");
  const out = h("button", { type: "button", class: "quiet", onclick: leave }, "Sign out");
  const bar = {
    onhelp: null,
    onsettings: null,
    element: h("header", { class: "top" },
      h("img", { src: "/static/icon.svg", alt: "", width: 24, height: 24 }),
      h("span", { class: "project" }, about.name),
      views.length > 1 ? h("nav", { "aria-label": "Views" }, links) : null,
      far,
      h("div", { class: "person" }, h("span", { class: "name", dir: "auto", title: person.name }, person.name), help,
        settings, out)),
    /** Mark the view that is shown. */
    at(view) {
      for (const link of links) {
        if (link.dataset.view === view) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
      Object.assign(bar, { onhelp: null, onsettings: null });
      bar.update(0, 0, []);
    },
    /** Show how far it is: `read` of `all`, where there is anything, and what is to be said of it. */
    update(read, all, parts) {
      done.hidden = !all;
      done.value = all ? Math.min(read / all, 1) : 0;
      fill(text, parts.filter(Boolean).join("  ·  "));
      far.hidden = !all && !text.textContent;
    },
  };
  return bar;
}
