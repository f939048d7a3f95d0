// One tab of a reader reads at a time: two would show him the same images, and send the same answers.

import { makeId } from "./memory.js";

const ANSWER_TIME = 250;

/** Begin to read in this tab; `lost` is called when another one takes over.  `take`: take over from another one.
 * A function that ends it; null where another tab reads. */
export function beReading(name, take, lost) {
  return navigator.locks ? byLock(name, take, lost) : byChannel(name, take, lost);
}

function byLock(name, take, lost) {
  return new Promise((resolve) => {
    let end;
    const held = new Promise((done) => (end = done));
    const options = take ? { steal: true } : { ifAvailable: true };
    navigator.locks.request(`overread:${name}`, options, (lock) => {
      resolve(lock && end);
      return lock ? held : undefined;
    }).catch(() => lost());
  });
}

/** Without a secure context there are no locks: tabs ask each other. */
function byChannel(name, take, lost) {
  const me = makeId();
  const channel = new BroadcastChannel(`overread:${name}`);
  let mine = take;
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      mine = true;
      resolve(() => channel.close());
    }, take ? 0 : ANSWER_TIME);
    channel.onmessage = ({ data: { from, says } }) => {
      if (from === me) return;
      if (says === "who reads?" && mine) channel.postMessage({ from: me, says: "I do" });
      if (says === "I do" && !mine) {
        clearTimeout(timer);
        channel.close();
        resolve(null);
      }
      if (says === "I take over" && mine) {
        channel.close();
        lost();
      }
    };
    channel.postMessage({ from: me, says: take ? "I take over" : "who reads?" });
  });
}
