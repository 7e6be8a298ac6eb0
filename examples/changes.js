// Keep a local copy of the list of conversations in step with the service. For browsers and Node 20, without dependencies.
import { streamReply } from "./stream.js";

const PAUSE_MS = 2_000;
const PASSING = [429, 500, 502, 503, 504];

/** Yield what changed: {conversations, deleted, isWhole}. The first one, and one after an expired cursor, is the whole list, archived
 * conversations too: forget what you have. Ends when the `signal` aborts. Throws an Error with the `status` and the fields of a
 * refusal that does not pass. */
export async function* followChanges(base, { token, signal }) {
  const get = async (path) => {
    const answer = await fetch(base + path, { headers: { Authorization: `Bearer ${token}` }, signal });
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) throw Object.assign(new Error(said.detail ?? answer.statusText), said, { status: answer.status });
    return said;
  };
  for (let cursor = null; !signal?.aborted; ) {
    try {
      if (cursor === null) {
        // The cursor comes first: what changes while the list is read is told afterwards.
        const { next } = await get("/api/changes");
        yield { conversations: await readAll(get), deleted: [], isWhole: true };
        cursor = next;
      }
      const headers = { "Last-Event-ID": cursor };
      for await (const { next, conversations, deleted } of streamReply(`${base}/api/changes`, { token, headers, signal })) {
        if (conversations.length || deleted.length) yield { conversations, deleted, isWhole: false };
        cursor = next;
      }
    } catch (problem) {
      if (signal?.aborted) return;
      if (problem.code === "cursor_expired") cursor = null;
      else if (problem.status && !PASSING.includes(problem.status)) throw problem;
      else await new Promise((resume) => setTimeout(resume, PAUSE_MS));
    }
  }
}

async function readAll(get) {
  const found = [];
  for (const archived of [false, true]) {
    for (let query = new URLSearchParams({ archived, limit: 200 }), next = ""; next !== null; query.set("cursor", next)) {
      const page = await get(`/api/conversations?${query}`);
      found.push(...page.items);
      next = page.next;
    }
  }
  return found;
}
