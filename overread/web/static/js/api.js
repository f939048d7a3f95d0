// Requests to the server, and what can become of them.

const TIMEOUT = 20_000;
// What passes by itself: too many requests, a proxy without its server, a busy or full database.
const PASSING = new Set([429, 502, 503, 504, 507]);

/** The server did not take the request.  `status` 0: it did not answer at all. */
export class Failure extends Error {
  constructor(status, code, message, retryAfter = 0) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }

  /** Whether the same request may do later. */
  get passes() {
    return this.status === 0 || PASSING.has(this.status);
  }
}

let proof = "";

async function request(method, path, body) {
  const headers = { "X-Overread-Proof": proof };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const options = { method, headers, signal: AbortSignal.timeout(TIMEOUT), credentials: "same-origin" };
  if (body !== undefined) options.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, options);
    if (response.ok) return response;
  } catch {
    throw new Failure(0, "offline", "There is no connection to the server.");
  }
  const said = await response.json().catch(() => null);
  const message = said?.error?.message ?? `The server answers with an error (${response.status}).`;
  const after = Number(response.headers.get("Retry-After")) || 0;
  throw new Failure(response.status, said?.error?.code ?? "", message, after);
}

async function json(method, path, body) {
  const response = await request(method, path, body);
  try {
    return await response.json();
  } catch {
    throw new Failure(0, "offline", "The connection broke while the server answered.");
  }
}

async function content(path, kind) {
  const response = await request("GET", path);
  try {
    return await response[kind]();
  } catch {
    throw new Failure(0, "offline", "The connection broke while the image came.");
  }
}

/** The reader of the answer of the server, whose proof goes with all that follows. */
function known(person) {
  proof = person.proof;
  return person;
}

const image = (item) => `/api/images/${encodeURIComponent(item)}`;

export const about = () => json("GET", "/api/about");
export const names = () => json("GET", "/api/readers");
export const whoReads = async () => known(await json("GET", "/api/session"));
export const signOut = () => request("DELETE", "/api/session");
export const claim = (images, skipped) => json("POST", "/api/work", { images, skipped });
export const progress = () => json("GET", "/api/progress");
export const read = (answer) => json("POST", "/api/reads", answer);
export const undo = (which) => json("POST", "/api/undo", which);
export const picture = (item) => content(image(item), "blob");
export const aboutImage = (item) => json("GET", `${image(item)}/about`);
export const grey = (item) => content(`${image(item)}/grey`, "arrayBuffer");
export const similar = (item) => json("GET", `/api/similar/${encodeURIComponent(item)}?images=6`);
export const decide = (decision) => json("POST", "/api/decisions", decision);
export const state = () => json("GET", "/api/state");

export async function signIn(name, password) {
  return known(await json("POST", "/api/session", { name, password }));
}

export function disagreements(after) {
  return json("GET", `/api/disagreements${after ? `?after=${encodeURIComponent(after)}` : ""}`);
}
