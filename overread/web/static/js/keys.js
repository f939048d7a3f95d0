// Which key means what.  A key is named by what it prints; digits by their place, since on some layouts they print
// something else without Shift, and keys of other scripts also by the Latin letter in their place.

import { keep, recall } from "./memory.js";

/** Name, what it does, and its key to begin with. */
export const COMMANDS = [
  ["cannot-tell", "Cannot tell", "0"],
  ["skip", "Skip", "s"],
  ["undo", "Undo", "u"],
  ["comment", "Comment", "c"],
  ["similar", "Similar images", "m"],
  ["invert", "Invert", "i"],
  ["zoom-in", "Zoom in", "+"],
  ["zoom-out", "Zoom out", "-"],
  ["fit", "Whole image / 100 %", "."],
  ["brighter", "Brighter", "PageUp"],
  ["darker", "Darker", "PageDown"],
  ["reset", "Reset the view", "Home"],
  ["scaling", "Smooth / pixels", "End"],
  ["settings", "Settings", ","],
  ["help", "Help", "?"],
];
const ALSO = { "=": "zoom-in", Backspace: "undo" };
const NEVER = new Set(["Tab", "Enter", " ", "Escape", "Shift", "Control", "Alt", "AltGraph", "Meta", "CapsLock", "Dead"]);
const ARROW = /^Arrow/;
const SHORT = { PageUp: "Pg↑", PageDown: "Pg↓", Backspace: "⌫", Delete: "Del" };

/** The names of the key of an event, the one that counts most first. */
export function namesOf({ code, key }) {
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(code ?? "");
  // A numeric pad without its lock prints no digit, and moves.
  if (digit && (code.startsWith("Digit") || key === digit[1])) return [digit[1]];
  const name = key.length === 1 ? key.toLowerCase() : key;
  const place = /^Key([A-Z])$/.exec(code ?? "");
  return place && !/^[a-z]$/.test(name) ? [name, place[1].toLowerCase()] : [name];
}

/** Whether a key can be given a meaning. */
export const isFree = (name) => !NEVER.has(name) && !ARROW.test(name);

/** The keys of one project: `class:0`, `class:1`, … and the commands. */
export class Keys {
  #place;
  #printed = new Map();

  constructor(project, classes) {
    this.#place = `${project}:keys`;
    const letters = [..."abcdefghijklmnopqrstuvwxyz"].filter((letter) => !COMMANDS.some(([, , key]) => key === letter));
    const free = [..."123456789", ...letters];
    this.actions = [
      ...classes.map((label, i) => ({ action: `class:${i}`, label, key: free[i] ?? null })),
      ...COMMANDS.map(([action, label, key]) => ({ action, label, key })),
    ];
    this.own = recall(this.#place, {});
    // Where the browser knows: what is printed on the keys.
    navigator.keyboard?.getLayoutMap?.().then((map) => map.forEach((key, code) => this.#learn({ code, key })), () => {});
  }

  #learn({ code, key }) {
    const names = namesOf({ code, key });
    if (key.length === 1 && /^(Digit|Key)/.test(code ?? "")) this.#printed.set(names.at(-1), key);
  }

  of(action) {
    return this.own[action] ?? this.actions.find((each) => each.action === action)?.key ?? null;
  }

  /** What the key of this event means; undefined where nothing. */
  meaning(event) {
    if (!event.shiftKey) this.#learn(event);
    for (const name of namesOf(event)) {
      const found = this.actions.find(({ action }) => this.of(action) === name);
      if (found) return found.action;
      if (ALSO[name]) return ALSO[name];
    }
    return undefined;
  }

  /** Give `action` the key `name`; the label of the action that has it already, where one does, and nothing changes. */
  set(action, name) {
    const taken = this.actions.find((each) => each.action !== action && this.of(each.action) === name);
    if (taken) return taken.label;
    this.own[action] = name;
    keep(this.#place, this.own);
    return null;
  }

  forget() {
    this.own = {};
    keep(this.#place, this.own);
  }

  /** What stands on the key of an action on this keyboard, for a key cap. */
  cap(action) {
    const name = this.of(action);
    if (name === null) return "";
    const printed = this.#printed.get(name) ?? name;
    // A digit that takes Shift here: both signs stand on the key.
    if (/^\d$/.test(name) && printed !== name) return `${name} ${printed}`;
    return SHORT[name] ?? (printed.length === 1 ? printed.toUpperCase() : printed);
  }
}
