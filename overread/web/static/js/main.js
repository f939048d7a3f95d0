// The page: who reads, in which tab, and which view.

import * as api from "./api.js";
import { makeBanner } from "./banner.js";
import { Desk } from "./desk.js";
import { showDisagreements } from "./disagreements.js";
import { announce, count, fill, h } from "./dom.js";
import { Keys } from "./keys.js";
import { keep, recall } from "./memory.js";
import { Outbox } from "./outbox.js";
import { showProject } from "./project.js";
import { showReading } from "./reading.js";
import { applyScaling, applyTheme } from "./settings.js";
import { showSignIn } from "./signin.js";
import { beReading } from "./tab.js";
import { makeTop } from "./top.js";

const page = document.getElementById("page");
const VIEWS = [["read", "Read"], ["disagreements", "Disagreements"], ["project", "Project"]];
const SHOWS = { read: showReading, disagreements: showDisagreements, project: showProject };

applyTheme();
applyScaling();
start();

async function start() {
  let about;
  try {
    about = await api.about();
  } catch (failure) {
    fill(page, h("main", { class: "message" }, h("h1", {}, "No connection"), h("p", {}, failure.message),
      h("button", { type: "button", class: "main", onclick: start }, "Try again")));
    return;
  }
  document.title = `${about.name} – overread`;
  // Asked only where there may be a session: to be told 401 is an error in the eyes of the browser.
  const person = recall("signed-in", false) ? await api.whoReads().catch(() => null) : null;
  if (person) enter(person);
  else signIn(about);
}

function signIn(about) {
  keep("signed-in", false);
  const last = recall(`${about.id}:last`, null);
  const waiting = last === null ? 0 : recall(`${about.id}:${last}:outbox`, []).length;
  const kept = waiting
    ? `${count(waiting, "answer")} of ${last} ${waiting === 1 ? "is" : "are"} kept on this computer, to be sent ` +
      "after signing in."
    : "";
  showSignIn(page, about, kept, enter);
}

async function enter(person, take = false) {
  // Again: what strangers are told has no classes.
  const about = await api.about();
  keep("signed-in", true);
  keep(`${about.id}:last`, person.name);
  const place = `${about.id}:${person.name}`;
  let leave = () => {};
  const release = await beReading(place, take, () => leave("other tab"));
  if (release === null) {
    showOtherTab(person);
    return;
  }
  const outbox = new Outbox(place);
  const desk = new Desk(place, outbox);
  let endView = () => {};
  leave = (why) => {
    endView();
    announce("");
    outbox.stop();
    desk.stop();
    release?.();
    if (why === "other tab") showOtherTab(person);
    else signIn(about);
  };
  const signOut = async () => {
    await api.signOut().catch(() => {});
    leave("signed out");
  };
  const body = h("div", { class: "view" });
  const bar = makeTop(about, person, person.role === "owner" ? VIEWS : VIEWS.slice(0, 1), go, signOut);
  const banner = makeBanner(outbox, () => desk.trouble);
  const keys = new Keys(about.id, about.classes);
  const context = { about, place, keys, desk, outbox, bar, signedOut: () => leave("signed out") };
  function go(view) {
    endView();
    // What was said of another view is no longer so.
    announce("");
    bar.at(view);
    endView = SHOWS[view](body, context);
  }
  desk.addEventListener("changed", banner.update);
  for (const each of [outbox, desk]) each.addEventListener("signed-out", () => leave("signed out"));
  fill(page, bar.element, banner.element, body);
  outbox.start();
  go("read");
}

function showOtherTab(person) {
  const here = h("button", { type: "button", class: "main", onclick: () => enter(person, true) }, "Read here instead");
  fill(page, h("main", { class: "message" }, h("h1", {}, "You are reading in another tab"),
    h("p", {}, "Close this one, or go on here: the other one then stops."), here));
  here.focus();
}
