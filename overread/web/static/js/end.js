// What the page says where there is no image to read.

import { count } from "./dom.js";

const some = (number, noun, one, more) => `${count(number, noun)} ${number === 1 ? one : more}`;

/**
 * `title`, null while it is not known yet what comes; `text`; and `skipped`: how many of the images that he skipped the
 * reader can still read.
 */
export function endOf({ progress, round, trouble, asked }, outbox) {
  const unsent = outbox.entries.length;
  const stopped = outbox.trouble ?? trouble;
  if (stopped && unsent) {
    const what = stopped.status === 0 ? "for the network" : "to be sent";
    return said("No image is here now",
      `${some(unsent, "answer", "waits", "wait")} ${what}. More images come as soon as ${unsent === 1 ? "it is" : "they are"} sent.`);
  }
  if (unsent) return said(null, `Sending ${count(unsent, "answer")} …`);
  if (trouble) return said("No image is here now", "More are asked for again and again.");
  if (!asked) return said(null, "…");
  if (round === null) return said("There is nothing to read now", "No round is open. The page looks for a new one now and then.");
  return endOfRound(progress);
}

const said = (title, text, skipped = 0) => ({ title, text, skipped });

function endOfRound({ skipped, reading, waiting }) {
  const parts = [];
  const others = waiting - reading;
  if (skipped) parts.push(`You skipped ${some(skipped, "image", "that still waits", "that still wait")} for a reader.`);
  if (others > 0) parts.push(`${some(others, "image", "waits", "wait")} for another reader.`);
  if (reading) parts.push(`${some(reading, "image", "is", "are")} with other readers. If one comes back, it appears here.`);
  if (!parts.length) return said("All done", "This round is read. New images appear here by themselves.");
  return said(skipped ? "Done, but for what you skipped" : "Your part is done", parts.join(" "), skipped);
}
