// What is going on, where it is not as it should be.

import { announce, count, fill, h } from "./dom.js";

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

/** A place for the state of `outbox` and for `others`, functions that return a Failure or null. */
export function makeBanner(outbox, others) {
  const trouble = h("div", { class: "banner", role: "alert", hidden: true });
  const aside = h("div", { class: "banner refused", role: "alert", hidden: true });
  let said = "";

  function update() {
    const failure = outbox.trouble ?? others();
    const waiting = outbox.entries.length;
    const kept = waiting
      ? ` ${count(waiting, "answer")} ${waiting === 1 ? "is" : "are"} kept on this computer and will be sent ` +
        "as soon as it works again."
      : " It is tried again and again.";
    const unsafe = outbox.safe === false ? " This browser stores nothing: keep the page open until they are sent." : "";
    const text = failure ? sentence(failure.message) + kept + unsafe : "";
    trouble.hidden = !text;
    if (text !== said) {
      fill(trouble, h("span", {}, text), h("button", { type: "button", onclick: () => outbox.hurry() }, "Try now"));
      if (said && !text) announce("All is sent and saved.");
      said = text;
    }
    const refused = outbox.aside;
    aside.hidden = !refused.length;
    if (refused.length) {
      fill(aside, h("span", {}, `${count(refused.length, "answer")} could not be taken: ${sentence(refused.at(-1).why)}`),
        h("button", { type: "button", onclick: () => outbox.resend() }, "Send again"),
        h("button", { type: "button", onclick: () => outbox.dismiss() }, "Give up"));
    }
  }
  outbox.addEventListener("changed", update);
  update();
  return { element: h("div", { class: "banners" }, trouble, aside), update };
}
