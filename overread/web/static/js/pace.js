// How fast a reader is, and how much he did today.

import { keep, recall } from "./memory.js";

const REMEMBERED = 60;
const today = () => new Date().toLocaleDateString("sv");

export class Pace {
  #place;

  constructor(place) {
    this.#place = `${place}:pace`;
  }

  get #all() {
    return recall(this.#place, { day: "", answers: 0, seconds: [] });
  }

  get answersToday() {
    const { day, answers } = this.#all;
    return day === today() ? answers : 0;
  }

  add(seconds) {
    const all = this.#all;
    const remembered = [...all.seconds, seconds].slice(-REMEMBERED);
    keep(this.#place, { day: today(), answers: this.answersToday + 1, seconds: remembered });
  }

  takeBack() {
    const all = this.#all;
    const answers = Math.max(this.answersToday - 1, 0);
    keep(this.#place, { day: today(), answers, seconds: all.seconds.slice(0, -1) });
  }

  /** "about 4 min left", from the median of his own answers; "" as long as there are fewer than five. */
  left(images) {
    const sorted = [...this.#all.seconds].sort((a, b) => a - b);
    if (sorted.length < 5 || images <= 0) return "";
    const minutes = (images * sorted[Math.floor(sorted.length / 2)]) / 60;
    if (minutes < 1) return "under 1 min left";
    if (minutes < 60) return `about ${Math.round(minutes)} min left`;
    return `about ${(minutes / 60).toFixed(1)} h left`;
  }
}

/** Seconds since `start()`, without those in which nobody could see the page. */
export class Watch {
  #total = 0;
  #since = null;

  /** `ended`: a signal, after which it stands still. */
  constructor(ended) {
    const change = () => (document.hidden ? this.#pause() : this.#run());
    document.addEventListener("visibilitychange", change, { signal: ended });
  }

  #pause() {
    if (this.#since !== null) this.#total += performance.now() - this.#since;
    this.#since = null;
  }

  #run() {
    this.#since ??= performance.now();
  }

  start() {
    this.#total = 0;
    this.#since = document.hidden ? null : performance.now();
  }

  get seconds() {
    const running = this.#since === null ? 0 : performance.now() - this.#since;
    return Math.min(Math.round((this.#total + running) / 10) / 100, 86_400);
  }
}
