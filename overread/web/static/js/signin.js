// Who reads.

import * as api from "./api.js";
import { fill, h } from "./dom.js";

/** The view to sign in: names to choose from, or a name and a password.  `done(person)` once somebody is in. */
export function showSignIn(root, about, kept, done) {
  const problem = h("p", { class: "problem", role: "alert" });
  const name = h("input", { type: "text", id: "name", required: true, maxLength: 200, autocomplete: "username" });
  const password = h("input", { type: "password", id: "password", required: true, autocomplete: "current-password" });
  const submit = h("button", { type: "submit", class: "main" }, about.log_in ? "Sign in" : "Begin reading");

  async function enter(who) {
    problem.textContent = "";
    submit.disabled = true;
    try {
      done(await api.signIn(who, about.log_in ? password.value : ""));
    } catch (failure) {
      problem.textContent = sentence(failure.message);
      submit.disabled = false;
      (about.log_in ? password : name).focus();
    }
  }

  const names = h("ul", { class: "names" });
  const field = (label, input) => h("div", { class: "field" }, h("label", { htmlFor: input.id }, label), input);
  const form = h("form", { onsubmit: (event) => (event.preventDefault(), enter(name.value)) },
    field(about.log_in ? "Name" : "Your name", name), about.log_in ? field("Password", password) : null, submit);
  const labelled = h("h2", { hidden: true }, "Go on as");
  fill(root, h("main", { class: "sign-in" }, h("div", { class: "card" },
    h("img", { src: "/static/icon.svg", alt: "", width: 56, height: 56 }),
    h("h1", {}, about.name), h("p", { class: "hint" }, "Read images, one key for each."),
    kept ? h("p", { class: "note" }, kept) : null, labelled, names, form, problem)));
  if (about.log_in) name.focus();
  else {
    api.names().then((known) => {
      labelled.hidden = !known.length;
      fill(names, known.map((each) => h("li", {},
        h("button", { type: "button", dir: "auto", onclick: () => enter(each) }, each))));
      if (known.length) form.querySelector("label").textContent = "Somebody else";
      (names.querySelector("button") ?? name).focus();
    }, (failure) => (problem.textContent = sentence(failure.message)));
  }
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);
