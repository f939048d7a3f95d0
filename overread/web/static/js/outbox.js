// Answers on their way: on the disk of the reader first, then to the server, in the order in which they were given.

import * as api from "./api.js";
import { keep, makeId, recall } from "./memory.js";

const LONGEST_WAIT = 15;

/**
 * The answers of one reader that the server does not have yet.  Events: "sent" (entry, answer of the server),
 * "changed" (how it stands), "signed-out".
 */
export class Outbox extends EventTarget {
  #name;
  #sending = false;
  #running = false;
  #wake = null;
  #failures = 0;
  /** The Failure that holds the answers up; null while all is well. */
  trouble = null;

  constructor(place) {
    super();
    this.#name = place;
    addEventListener("online", () => this.hurry());
  }

  get entries() {
    return recall(`${this.#name}:outbox`, []);
  }

  get aside() {
    return recall(`${this.#name}:aside`, []);
  }

  #tell(type, detail = null) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #keep(entries) {
    this.safe = keep(`${this.#name}:outbox`, entries);
    this.#tell("changed");
  }

  /** Keep an answer, and send it as soon as can be. */
  add(answer) {
    this.#keep([...this.entries, { what: "read", body: { client_id: makeId(), ...answer } }]);
    this.hurry();
  }

  /** Take the last answer back: one that was never sent is dropped, for any other the server is told. */
  takeBack(item) {
    const entries = this.entries;
    const last = entries.at(-1);
    const isOf = ({ what, body }) => what === "read" && body.item === item;
    if (!entries.some(isOf) && this.aside.some(isOf)) {
      // The server never took it: an undo would take back the one before.
      keep(`${this.#name}:aside`, this.aside.filter((entry) => !isOf(entry)));
      this.#tell("changed");
      return;
    }
    if (last && isOf(last) && !last.tried) this.#keep(entries.slice(0, -1));
    else this.#keep([...entries, { what: "undo", body: { client_id: makeId(), item } }]);
    this.hurry();
  }

  /** Whether an answer on this item is on its way. */
  holds(item) {
    return this.entries.reduce((held, { what, body }) => (body.item === item ? what === "read" : held), false);
  }

  /** Send again what the server refused. */
  resend() {
    const again = this.aside.map(({ what, body }) => ({ what, body }));
    this.dismiss();
    this.#keep([...this.entries, ...again]);
    this.hurry();
  }

  dismiss() {
    keep(`${this.#name}:aside`, []);
    this.#tell("changed");
  }

  start() {
    this.#running = true;
    this.hurry();
  }

  stop() {
    this.#running = false;
    this.#wake?.();
  }

  /** Send now, whatever the wait was to be. */
  hurry() {
    this.#wake?.();
    if (!this.#sending) this.#send();
  }

  async #send() {
    this.#sending = true;
    try {
      while (this.#running && this.entries.length) await this.#sendFirst();
    } finally {
      this.#sending = false;
    }
  }

  async #sendFirst() {
    const entry = this.entries[0];
    this.#keep(this.entries.map((each, i) => (i ? each : { ...each, tried: true })));
    let answer;
    try {
      answer = entry.what === "undo" ? await api.undo(entry.body) : await api.read(entry.body);
    } catch (failure) {
      if (!(failure instanceof api.Failure)) throw failure;
      await this.#failed(entry, failure);
      return;
    }
    this.#done(entry);
    this.#tell("sent", { entry, answer });
  }

  #done(entry) {
    this.trouble = null;
    this.#failures = 0;
    this.#keep(this.entries.filter((each) => each.body.client_id !== entry.body.client_id));
  }

  async #failed(entry, failure) {
    if (failure.passes) {
      this.#failures += 1;
      this.trouble = failure;
      this.#tell("changed");
      await this.#wait(Math.max(failure.retryAfter, Math.min(LONGEST_WAIT, 2 ** (this.#failures - 1))));
    } else if (failure.status === 401) {
      this.#running = false;
      this.#tell("signed-out");
    } else if (failure.status === 403 && !entry.renewed && (await this.#renewed(entry))) {
      // The session is another one than that of the page's proof: with the new proof it goes.
    } else {
      const next = this.entries[1];
      this.#done(entry);
      // An answer that its reader has taken back meanwhile, and that the server never had, is done with.
      if (next?.what === "undo" && next.body.item === entry.body.item) this.#done(next);
      else keep(`${this.#name}:aside`, [...this.aside, { ...entry, why: failure.message }]);
      this.#tell("changed");
    }
  }

  async #renewed(entry) {
    const id = entry.body.client_id;
    this.#keep(this.entries.map((each) => (each.body.client_id === id ? { ...each, renewed: true } : each)));
    return api.whoReads().then(() => true, () => false);
  }

  #wait(seconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
