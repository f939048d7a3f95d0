// What the browser keeps: JSON under names of its own.  Where storage is refused, as in some private windows, the page
// keeps it in memory for as long as it is open.

const PREFIX = "overread:";
const fallback = new Map();

export function recall(name, otherwise) {
  try {
    const text = localStorage.getItem(PREFIX + name) ?? fallback.get(name);
    return text === undefined || text === null ? otherwise : JSON.parse(text);
  } catch {
    return fallback.has(name) ? JSON.parse(fallback.get(name)) : otherwise;
  }
}

/** Keep `value`; false where it will not outlive the page. */
export function keep(name, value) {
  const text = JSON.stringify(value);
  try {
    localStorage.setItem(PREFIX + name, text);
    fallback.delete(name);
    return true;
  } catch {
    fallback.set(name, text);
    return false;
  }
}

/** A random UUID, version 4.  Browsers offer one only on loopback and over https, so elsewhere it is made by hand. */
export function makeId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
