// What lies before the reader: the images that he holds, the one that he looks at, and what he said before.

import * as api from "./api.js";
import { keep, makeId, recall } from "./memory.js";
import { picture } from "./pictures.js";

const HELD = 4;
const REMEMBERED = 50;
const POLL = 15_000;
const CHECK = 30_000;

/** The work of one reader.  Events: "changed", "not-undone" (the server had no such answer), "signed-out". */
export class Desk extends EventTarget {
  #place;
  #outbox;
  #claiming = false;
  #answeredMeanwhile = new Set();
  #timers = [];
  tasks = [];
  round = null;
  progress = null;
  /** What he had said of the image that he took back. */
  before = null;
  trouble = null;
  /** Whether the server said what there is to read, after all that the reader did. */
  asked = false;
  /** How many images that he skipped are still to come again, each once. */
  #again = 0;

  constructor(place, outbox) {
    super();
    this.#place = `${place}:history`;
    this.#outbox = outbox;
    this.#listen(outbox, "sent", ({ detail }) => this.#sent(detail));
    this.#listen(window, "online", () => this.refill());
    // An answer that was refused is no longer waited for.
    this.#listen(outbox, "changed", () => this.asked || this.tasks.length || this.refill());
    const every = (time, run) => this.#timers.push(setInterval(run, time));
    every(POLL, () => this.tasks.length || this.refill());
    every(CHECK, () => this.#check());
  }

  #ends = new AbortController();

  #listen(target, type, run) {
    target.addEventListener(type, run, { signal: this.#ends.signal });
  }

  stop() {
    this.#ends.abort();
    this.#timers.forEach(clearInterval);
  }

  get current() {
    return this.tasks[0] ?? null;
  }

  get history() {
    return recall(this.#place, []);
  }

  #changed() {
    if (this.#ends.signal.aborted) return;
    for (const { item } of this.tasks.slice(0, HELD)) picture(item).catch(() => {});
    this.dispatchEvent(new Event("changed"));
  }

  #sent({ entry, answer }) {
    this.trouble = null;
    const next = answer.next;
    if (next && !this.tasks.some(({ item }) => item === next.item) && !this.#outbox.holds(next.item)) {
      this.tasks.push({ ...next, round: this.round });
      this.#changed();
    }
    if (entry.what === "undo" && !answer.receipt) this.dispatchEvent(new Event("not-undone"));
    // What was taken back is his again.
    if (entry.what === "undo" || this.tasks.length < HELD - 1) this.refill();
  }

  /** Ask for images until there are enough.  Not while answers are on their way: the server would give theirs again. */
  async refill() {
    if (this.#claiming || this.#outbox.entries.length || this.#ends.signal.aborted) return;
    this.#claiming = true;
    this.#answeredMeanwhile.clear();
    const again = this.#again > 0;
    const images = again ? Math.min(HELD, this.tasks.length + this.#again) : HELD;
    try {
      this.#take(await api.claim(images, again), images, again);
      this.trouble = null;
    } catch (failure) {
      if (!(failure instanceof api.Failure)) throw failure;
      if (failure.status === 401) this.dispatchEvent(new Event("signed-out"));
      else {
        this.trouble = failure;
        this.#timers.push(setTimeout(() => this.refill(), 3000));
      }
    } finally {
      this.#claiming = false;
    }
    this.#changed();
    // What was answered while the server counted could not be asked for.
    const isBehind = !this.asked || (this.#again > 0 && !again);
    if (isBehind && !this.trouble && this.tasks.length < HELD - 1) this.refill();
  }

  /** Show the images that he skipped once more, each once: the server gives those first that he skipped first. */
  readSkipped() {
    this.#again = this.progress?.skipped ?? 0;
    this.refill();
  }

  #take({ round, tasks, progress }, images, again) {
    if (again) {
      const held = new Set(this.tasks.map(({ item }) => item));
      const fresh = tasks.filter(({ item }) => !held.has(item)).length;
      // Others may have read them meanwhile.
      if (fresh || images > held.size) this.#again = fresh ? Math.max(this.#again - fresh, 0) : 0;
    }
    const offered = tasks
      .filter(({ item }) => !this.#answeredMeanwhile.has(item) && !this.#outbox.holds(item))
      .map((task) => ({ ...task, round }));
    const fresh = new Map(offered.map((task) => [task.item, task]));
    // The image that he looks at stays, even where its time has run out or its round is over: his answer counts.
    const kept = this.tasks.filter(({ item }, i) => i === 0 || fresh.has(item)).map((task) => fresh.get(task.item) ?? task);
    const known = new Set(kept.map(({ item }) => item));
    this.tasks = [...kept, ...offered.filter(({ item }) => !known.has(item))];
    const isNow = !this.#answeredMeanwhile.size;
    Object.assign(this, { round, progress: isNow ? progress : this.progress ?? progress, asked: isNow });
  }

  async #check() {
    if (this.tasks.some(({ until }) => Date.parse(until) < Date.now() + CHECK)) {
      this.refill();
      return;
    }
    try {
      const progress = await api.progress();
      if (!this.#outbox.entries.length) this.progress = progress;
      this.#changed();
    } catch {
      // It comes with the next images.
    }
  }

  /** What the reader says of the image before him. */
  answer(kind, label, { comment, seconds }) {
    const task = this.tasks.shift();
    const seen = { ...task.shown, similar: recall(`${this.#place}:similar`, {})[task.item] ?? null };
    const shown = Object.fromEntries(Object.entries(seen).filter(([, value]) => value !== null));
    const body = { round: task.round, item: task.item, kind, label, comment, seconds };
    this.#answeredMeanwhile.add(task.item);
    keep(this.#place, [...this.history, { task, kind, label, comment }].slice(-REMEMBERED));
    this.before = null;
    this.#count(kind, 1);
    this.#outbox.add({ ...body, shown });
    this.#changed();
  }

  /** Remember how many similar images he saw: also when he comes back to the image, or to the page. */
  noteSimilar(item, count) {
    const seen = Object.entries({ ...recall(`${this.#place}:similar`, {}), [item]: count });
    keep(`${this.#place}:similar`, Object.fromEntries(seen.slice(-REMEMBERED)));
  }

  #count(kind, change) {
    this.asked = false;
    if (!this.progress) return;
    const where = kind === "skip" ? "skipped" : "mine";
    const { [where]: said, left } = this.progress;
    this.progress = { ...this.progress, [where]: Math.max(said + change, 0), left: Math.max(left - change, 0) };
  }

  /** Go back to the last image; what was said of it, null where there is none. */
  async undo() {
    const last = this.history.at(-1);
    if (!last) return this.#undoUnknown();
    keep(this.#place, this.history.slice(0, -1));
    this.#outbox.takeBack(last.task.item);
    this.#answeredMeanwhile.delete(last.task.item);
    this.#count(last.kind, -1);
    this.#putFirst(last.task, last);
    return last;
  }

  #putFirst(task, before) {
    this.tasks = [task, ...this.tasks.filter(({ item }) => item !== task.item)];
    this.before = before;
    this.#changed();
  }

  /** In a browser that did not see the answer only the server knows which one was the last. */
  async #undoUnknown() {
    if (this.#outbox.entries.length) return null;
    const { receipt } = await api.undo({ client_id: makeId() });
    if (!receipt) return null;
    await this.refill();
    const task = this.tasks.find(({ item }) => item === receipt.item);
    if (task) this.#putFirst(task, null);
    return task ?? null;
  }
}
