// The bar on top: where one is, how far, and who.

import { fill, h } from "./dom.js";

/** The bar of `person`; `go(view)` and `leave()` are called by its buttons. */
export function makeTop(about, person, views, go, leave) {
  const text = h("span", { class: "numbers" });
  const done = h("progress", { max: 1, value: 0, "aria-label": "Answers of this round" });
  const links = views.map(([view, label]) =>
    h("button", { type: "button", "data-view": view, onclick: () => go(view) }, label));
  const help = h("button", { type: "button", class: "quiet", onclick: () => bar.onhelp?.() }, "Help");
  const settings = h("button", { type: "button", class: "quiet", onclick: () => bar.onsettings?.() }, "Settings");
  const out = h("button", { type: "button", class: "quiet", onclick: leave, "aria-label": `${person.name}: sign out`,
    title: "Sign out" }, h("span", { dir: "auto" }, person.name));
  const bar = {
    onhelp: null,
    onsettings: null,
    element: h("header", { class: "top" },
      h("img", { src: "/static/icon.svg", alt: "", width: 24, height: 24 }),
      h("span", { class: "project" }, about.name),
      views.length > 1 ? h("nav", { "aria-label": "Views" }, links) : null,
      h("div", { class: "progress" }, done, text),
      h("div", { class: "person" }, help, settings,
        out)),
    /** Mark the view that is shown. */
    at(view) {
      for (const link of links) {
        if (link.dataset.view === view) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
      Object.assign(bar, { onhelp: null, onsettings: null });
    },
    update(progress, today, left) {
      done.hidden = !progress;
      if (progress) done.value = progress.wanted ? Math.min(progress.answered / progress.wanted, 1) : 1;
      const parts = progress ? [`${progress.answered} of ${progress.wanted}`] : [];
      if (today) parts.push(`${today} by you today`);
      if (left) parts.push(left);
      fill(text, parts.join("  ·  "));
    },
  };
  return bar;
}
