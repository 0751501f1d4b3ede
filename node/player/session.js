// The way to the node: a one-time code becomes tokens, tokens go into every request.
// The access token lives in memory; the refresh token in this tab's sessionStorage, for a reload.

const KEY = "marina.refresh";
const NEEDS_LINK = "This page needs a fresh link from its node. Run “marina up” in a terminal and open the link it prints.";
let access = null;
let refreshing = null;

export class ApiError extends Error {
  constructor(message, code, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

async function send(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  if (access) headers.Authorization = `Bearer ${access}`;
  if (method !== "GET") headers["Content-Type"] = "application/json";
  let reply;
  try {
    reply = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body), credentials: "omit" });
  } catch (err) {
    if (err.name === "AbortError") throw err;
    throw new ApiError("The node does not answer. Is it running? Start it with “marina up”.", "offline", 0);
  }
  const envelope = await reply.json().catch(() => null);
  if (!envelope) throw new ApiError(`The node gave an answer this page cannot read (${reply.status}).`, "bad_reply", reply.status);
  // A failed health check still carries its data; everything else that fails is an error.
  if (!envelope.success && envelope.data === null) {
    throw new ApiError(sentence(envelope.error.message), envelope.error.code, reply.status);
  }
  return envelope.data;
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

async function take(path, body) {
  access = null;
  const pair = await send(path, { method: "POST", body });
  access = pair.accessToken;
  sessionStorage.setItem(KEY, pair.refreshToken);
}

function refresh() {
  // One at a time: a refresh token that is shown twice ends the session.
  refreshing ??= (async () => {
    const refreshToken = sessionStorage.getItem(KEY);
    if (!refreshToken) throw new ApiError(NEEDS_LINK, "no_session", 401);
    try {
      await take("/api/v1/session/refresh", { refreshToken });
    } catch (err) {
      if (err.status === 401) {
        sessionStorage.removeItem(KEY);
        throw new ApiError(NEEDS_LINK, "no_session", 401);
      }
      throw err;
    }
  })().finally(() => { refreshing = null; });
  return refreshing;
}

/** Open the session: with the code of the address if there is one, else with the last refresh token. */
export async function open() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (!code) return refresh();
  history.replaceState(null, "", location.pathname); // the code is spent; keep it out of the history
  return take("/api/v1/session", { code });
}

/** Ask the node; the data of its envelope, or an ApiError with a sentence for people. */
export async function api(path, options) {
  if (!access) await refresh();
  try {
    return await send(path, options);
  } catch (err) {
    if (err.status !== 401) throw err;
    await refresh();
    return send(path, options);
  }
}
