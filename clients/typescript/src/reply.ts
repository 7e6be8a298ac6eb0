// A reply that is read across lost connections.
import { ChatError, ConnectionLost, ReplyFailed, refusalOf } from "./errors.js";
import type { Done, Failure, ReplyEvent } from "./types.js";

const SILENCE_MS = 45_000; // The service sends a comment after 15 s of silence.
const MOST_FAILURES = 8; // in a row
const LONGEST_WAIT_S = 30;
const LONGEST_PAUSE_MS = 8_000;
// Following can be repeated after these. A send can be, if the service says when.
const PASSING_WHEN_FOLLOWING = [429, 500, 502, 503, 504];
const PASSING_WHEN_SENDING = [502, 503, 504];

/** A request that begins a reply, or follows one. Its headers have the key that lets it be repeated. */
export interface ReplyRequest {
  method: "GET" | "POST" | "PUT";
  path: string;
  body?: unknown;
  headers: Record<string, string>;
}

export interface Connection {
  fetch(method: string, path: string, options: { body?: unknown; headers: Record<string, string>; signal: AbortSignal }): Promise<Response>;
  stop(key: string | undefined): Promise<void>;
}

/**
 * A reply that is being written. Iterate over it for its events, or `finish` it for its text.
 *
 * A connection that breaks is opened again behind what was read. To leave the loop, or to abort the `signal`, closes the
 * connection. It does not stop the reply: `stop` does.
 */
export class Reply implements AsyncIterable<ReplyEvent> {
  text: string;
  reasoning: string;
  /** The reply's id. Empty before the service has answered. */
  messageId = "";
  userMessageId = "";
  done: Done | null = null;
  failure: Failure | null = null;
  #request: ReplyRequest;
  #connection: Connection;
  #signal: AbortSignal | undefined;
  #events: AsyncGenerator<ReplyEvent, void>;
  #failures = 0;

  constructor(connection: Connection, request: ReplyRequest, { signal, text = "", reasoning = "" }: { signal?: AbortSignal | undefined; text?: string; reasoning?: string } = {}) {
    this.#connection = connection;
    this.#request = { ...request, headers: { ...request.headers } };
    this.#signal = signal;
    this.text = text;
    this.reasoning = reasoning;
    this.#events = this.#read();
  }

  [Symbol.asyncIterator](): AsyncGenerator<ReplyEvent, void> {
    return this.#events;
  }

  /** Read to the end. Throws `ReplyFailed` if that is a bad one, `ChatError` if the service refuses, `ConnectionLost`. */
  async finish(): Promise<this> {
    while (!(await this.#events.next()).done);
    if (this.done && ["failed", "interrupted"].includes(this.done.status)) {
      throw new ReplyFailed(this.done.status, this.failure?.error ?? "", this.failure?.detail ?? "");
    }
    return this;
  }

  /** Stop the reply, even if its message is still on its way. */
  stop(): Promise<void> {
    return this.#connection.stop(this.#request.headers["Idempotency-Key"]);
  }

  async *#read(): AsyncGenerator<ReplyEvent, void> {
    while (!this.done) {
      let problem: unknown = null;
      try {
        yield* this.#readOn();
      } catch (failed) {
        problem = failed;
      }
      if (!this.done) await this.#pauseAfter(problem);
    }
  }

  async *#readOn(): AsyncGenerator<ReplyEvent, void> {
    const silence = new AbortController();
    const signal = this.#signal ? AbortSignal.any([silence.signal, this.#signal]) : silence.signal;
    let timer = setTimeout(() => silence.abort(), SILENCE_MS);
    try {
      const { method, path, body, headers } = this.#request;
      const answer = await this.#connection.fetch(method, path, { body, headers: { ...headers, Accept: "text/event-stream" }, signal });
      if (!answer.ok || !answer.body) throw await refusalOf(answer);
      if (this.#begin(answer.headers)) yield { restarted: true };
      let unread = "";
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), SILENCE_MS);
        const blocks = (unread + part.value).split("\n\n");
        unread = blocks.pop() ?? ""; // the part without its end
        for (const block of blocks) {
          yield this.#take(block);
          if (this.done) return;
        }
      }
    } finally {
      clearTimeout(timer);
      silence.abort();
    }
  }

  /** Take the headers of an answer. From now on, the reply is followed at its own address. Tells whether it begins anew. */
  #begin(headers: Headers): boolean {
    const place = headers.get("Content-Location");
    if (place) this.#request = { method: "GET", path: `${place}/stream`, headers: this.#request.headers };
    this.messageId = headers.get("X-Message-Id") ?? this.messageId;
    this.userMessageId = headers.get("X-User-Message-Id") ?? this.userMessageId;
    const begins = headers.has("X-Stream-Restarted");
    if (begins) this.text = this.reasoning = "";
    return begins;
  }

  /** Take an event. Its lines are `name: value`; comments have no name. */
  #take(block: string): ReplyEvent {
    const lines = block.split("\n").map((line) => line.split(/: (.*)/s));
    const { id, data = "" } = Object.fromEntries(lines) as Record<string, string | undefined>;
    if (id) this.#request.headers["Last-Event-ID"] = id;
    this.#failures = 0;
    const said = JSON.parse(data) as ReplyEvent;
    if ("token" in said) this.text += said.token ?? "";
    else if ("reasoning" in said) this.reasoning += said.reasoning ?? "";
    else if ("error" in said) this.failure = said;
    else if ("done" in said) this.done = said;
    return said;
  }

  /** Wait before the next request. Throws what can't be mended by another one. */
  async #pauseAfter(problem: unknown): Promise<void> {
    if (this.#signal?.aborted) throw this.#signal.reason;
    this.#failures += 1;
    let waitS = 0;
    if (problem instanceof ChatError) {
      waitS = problem.retryAfter ?? 0;
      const isFollowing = this.#request.method === "GET";
      const passing = isFollowing ? PASSING_WHEN_FOLLOWING : waitS ? PASSING_WHEN_SENDING : [];
      if (!passing.includes(problem.status) || waitS > LONGEST_WAIT_S) throw problem;
    }
    if (this.#failures > MOST_FAILURES) {
      throw problem instanceof ChatError ? problem : new ConnectionLost("The connection broke.", { cause: problem });
    }
    const pauseMs = Math.max(waitS * 1000, Math.min(250 * 2 ** this.#failures, LONGEST_PAUSE_MS));
    await new Promise((resume) => setTimeout(resume, pauseMs));
  }
}
