// Calls of the public API with the user's token, which only this tab keeps.
import { streamReply } from "../stream.js";

const TOKEN = "token";
const PREFIX = "/api";

let onLoggedOut = () => {};

export const getToken = () => sessionStorage.getItem(TOKEN);
export const setToken = (token) => (token ? sessionStorage.setItem(TOKEN, token) : sessionStorage.removeItem(TOKEN));
export const whenLoggedOut = (listener) => (onLoggedOut = listener);

/** Return the answer's JSON. Throws an Error with the fields of the refusal. */
export async function call(method, path, body, more = {}) {
  const answer = await request(method, path, body, { Accept: "application/json", ...more });
  return answer.status === 204 ? null : answer.json();
}

/** Return a file, and the name that the service gives it. */
export async function readFile(path) {
  const answer = await request("GET", path);
  const [, name] = answer.headers.get("Content-Disposition").match(/filename="(.+)"/);
  return { name, content: await answer.blob() };
}

async function request(method, path, body, more) {
  const headers = { Authorization: `Bearer ${getToken()}`, ...more };
  const answer = await fetch(PREFIX + path, { method, headers, body: body && JSON.stringify(body) });
  if (answer.ok) return answer;
  if (answer.status === 401) onLoggedOut();
  const said = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(said.detail ?? answer.statusText), said, { status: answer.status });
}

/** Yield the objects of a reply, as `streamReply` does. */
export async function* stream(path, options) {
  try {
    yield* streamReply(PREFIX + path, { token: getToken(), ...options });
  } catch (problem) {
    if (problem.status === 401) onLoggedOut();
    throw problem;
  }
}

/** Say in words what went wrong. */
export function inWords(problem) {
  if (problem.status || problem.error) return problem.detail ?? problem.message;
  return "The service can't be reached. Check your connection, then try again.";
}
