// Send a message and read its reply; continue where the connection broke. For browsers and Node 20, without dependencies.
const SILENCE_MS = 45_000; // The service sends a comment after 15 s of silence.
const MOST_FAILURES = 8; // in a row

/** Yield the objects of a reply: {token}, {reasoning}, {error, detail} and, last, {done, status}. A send has a `body` and a `key`
 * (its Idempotency-Key), so it can be repeated. To follow a reply, `address` is its /stream. A Last-Event-ID in `headers` says where to begin.
 * Throws an Error; if the service refuses, it has the `status` and the fields of the answer, such as `code`. */
export async function* streamReply(address, { token, method = "GET", body, key, headers, signal, onStart }) {
  headers = { Authorization: `Bearer ${token}`, Accept: "text/event-stream", ...(key && { "Idempotency-Key": key }), ...headers };
  for (let failures = 0; ; failures++) {
    const connection = new AbortController(), either = AbortSignal.any([connection.signal, signal ?? connection.signal]);
    const watch = () => setTimeout(() => connection.abort(), SILENCE_MS);
    let silence = watch(), wait = 0;
    try {
      const answer = await fetch(address, { method, headers, body: body && JSON.stringify(body), signal: either });
      wait = Number(answer.headers.get("Retry-After")) || 0;
      const refusal = answer.ok ? null : await answer.json().catch(() => ({}));
      if (refusal) throw Object.assign(new Error(refusal.detail ?? answer.statusText), refusal, { status: answer.status });
      const place = answer.headers.get("Content-Location"); // The reply has begun. From now on, it is followed there.
      if (place) [address, method, body] = [new URL(`${place}/stream`, answer.url), "GET", undefined];
      onStart?.(answer.headers.get("X-Message-Id"));
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let unread = "", part; !(part = await reader.read()).done; clearTimeout(silence), (silence = watch())) {
        const events = (unread + part.value).split("\n\n"); unread = events.pop(); // the part without its end
        for (const event of events) { // Its lines are `name: value`. Comments have no name.
          const { id, data } = Object.fromEntries(event.split("\n").map((line) => line.split(/: (.*)/s)));
          if (id) [headers["Last-Event-ID"], failures] = [id, -1];
          yield JSON.parse(data);
          if (id === "done") return;
        }
      }
    } catch (problem) {
      const passing = method === "GET" ? [429, 500, 502, 503, 504] : wait ? [502, 503, 504] : []; // A send: if told when.
      const mayPass = problem.status ? passing.includes(problem.status) : !signal?.aborted;
      if (!mayPass || wait > 30 || failures >= MOST_FAILURES || (method !== "GET" && !key)) throw problem;
    } finally { clearTimeout(silence); connection.abort(); }
    const pause = new Promise((resume) => setTimeout(resume, Math.max(wait * 1000, Math.min(250 * 2 ** failures, 8000))));
    await (wait ? pause : Promise.race([pause, new Promise((resume) => globalThis.addEventListener?.("online", resume, { once: true }))]));
  }
}
