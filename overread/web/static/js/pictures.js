// Images of the next answers, here before they are wanted, and decoded.

import * as api from "./api.js";

const KEPT = 12;
const pictures = new Map();

/** What is shown of an item: `url` of its blob, `width`, `height`, `about` and `grey()`, its grey levels. */
async function load(item) {
  const [blob, about] = await Promise.all([api.picture(item), api.aboutImage(item)]);
  const url = URL.createObjectURL(blob);
  const element = new Image();
  element.src = url;
  await element.decode();
  // The numbers are little-endian, as are all machines that browsers run on.
  let levels = null;
  const grey = () => {
    levels ??= api.grey(item).then((buffer) => new Uint16Array(buffer));
    levels.catch(() => (levels = null));
    return levels;
  };
  return { item, url, element, about, grey, width: about.width, height: about.height };
}

/** A promise of the picture; one that failed is asked for again next time. */
export function picture(item) {
  let found = pictures.get(item);
  if (!found) {
    found = load(item);
    found.catch(() => pictures.delete(item));
  }
  // The one that was asked for last goes last.
  pictures.delete(item);
  pictures.set(item, found);
  for (const [old, promise] of pictures) {
    if (pictures.size <= KEPT) break;
    pictures.delete(old);
    promise.then(({ url }) => URL.revokeObjectURL(url), () => {});
  }
  return found;
}
