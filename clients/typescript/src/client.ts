// The client: one method for each thing that the service does.
import { ConnectionLost, refusalOf } from "./errors.js";
import { Reply, type ReplyRequest } from "./reply.js";
import type { ChangeFields, Conversation, CreateFields, Message, ReplyOptions, SearchHit } from "./types.js";

export interface ClientOptions {
  /** The user's token, or a function that returns the current one. */
  token: string | (() => string | Promise<string>);
  fetch?: typeof fetch;
}
export interface Keyed {
  /** The same key makes a repeat find the first request. Without it, each request has a new one. */
  key?: string;
}
export interface Sending extends Keyed {
  /** Closes the connection. The reply goes on. */
  signal?: AbortSignal;
}

type Query = Record<string, string | number | boolean>;
interface Page<Item> {
  items: Item[];
  next: string | null;
}

export class ChatClient {
  #base: string;
  #token: ClientOptions["token"];
  #fetch: typeof fetch;

  constructor(baseUrl: string, options: ClientOptions) {
    this.#base = baseUrl.replace(/\/+$/, "");
    this.#token = options.token;
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
  }

  // --- Conversations ---

  /** All conversations, newest activity first. `filters`: favorited, archived, deleted, tag, q. */
  conversations(filters: Query = {}): AsyncGenerator<Conversation> {
    return this.#items<Conversation>("/api/conversations", filters);
  }

  createConversation(fields: CreateFields = {}, { key }: Keyed = {}): Promise<Conversation> {
    return this.call("POST", "/api/conversations", fields, keyed(key));
  }

  async conversation(id: string): Promise<Conversation> {
    const { messages: _, next: __, ...found } = await this.call<Conversation & { messages: unknown; next: unknown }>("GET", `${placeOf(id)}?limit=1`);
    return found;
  }

  changeConversation(id: string, fields: ChangeFields): Promise<Conversation> {
    return this.call("PATCH", placeOf(id), fields);
  }

  deleteConversation(id: string): Promise<void> {
    return this.call("DELETE", placeOf(id));
  }

  restoreConversation(id: string): Promise<Conversation> {
    return this.call("POST", `${placeOf(id)}/restore`);
  }

  /** Copy the active branch, up to a message, into a new conversation. */
  fork(id: string, { messageId = null, title = null, key }: { messageId?: string | null; title?: string | null } & Keyed = {}): Promise<Conversation> {
    return this.call("POST", `${placeOf(id)}/fork`, { message_id: messageId, title }, keyed(key));
  }

  search(text: string): AsyncGenerator<SearchHit> {
    return this.#items<SearchHit>("/api/search", { q: text });
  }

  // --- Messages ---

  /** All messages of the active branch, or of all branches, oldest first. */
  async messages(conversationId: string, { allVersions = false } = {}): Promise<Message[]> {
    const query: Query = { limit: 200, ...(allVersions && { versions: "all" }) };
    const pages: Message[][] = [];
    // Pages begin at the end of the conversation. Each is in the order of time.
    for await (const page of this.#pages<Message>(`${placeOf(conversationId)}/messages`, query)) pages.unshift(page);
    return pages.flat();
  }

  message(conversationId: string, id: string): Promise<Message> {
    return this.call("GET", placeOf(conversationId, id));
  }

  /** Make this version the one that counts, with what followed it. */
  activate(conversationId: string, id: string): Promise<Message> {
    return this.call("POST", `${placeOf(conversationId, id)}/activate`);
  }

  async rate(conversationId: string, id: string, rating: 1 | -1 | null, comment?: string): Promise<void> {
    await this.call("PUT", `${placeOf(conversationId, id)}/feedback`, { rating, ...(comment !== undefined && { comment }) });
  }

  // --- Replies ---

  /** Send a message. Nothing is sent before the reply is read. */
  send(conversationId: string, content: string, { key, signal, ...options }: ReplyOptions & Sending = {}): Reply {
    return this.#reply(conversationId, "POST", `${placeOf(conversationId)}/messages`, { content, ...options }, { key, signal });
  }

  edit(conversationId: string, id: string, content: string, { key, signal, ...options }: ReplyOptions & Sending = {}): Reply {
    return this.#reply(conversationId, "PUT", placeOf(conversationId, id), { content, ...options }, { key, signal });
  }

  /** Write another reply: to the last question, or in the place of the message `id`. */
  regenerate(conversationId: string, { id, key, signal, ...options }: ReplyOptions & Sending & { id?: string } = {}): Reply {
    return this.#reply(conversationId, "POST", `${placeOf(conversationId, id)}/regenerate`, options, { key, signal });
  }

  /** Go on with the last reply, if it is unfinished. Its `text` begins with what it has. */
  goOn(reply: Message, { key, signal, ...options }: ReplyOptions & Sending = {}): Reply {
    const { content: text, reasoning } = reply;
    // How much of the text and of the reasoning is known, in code points.
    const known = [text, ...(reasoning ? [reasoning] : [])].map((part) => [...part].length).join("-");
    const request = { method: "POST", path: `${placeOf(reply.conversation_id, reply.id)}/continue`, body: options, headers: { ...keyed(key), "Last-Event-ID": known } } as const;
    return this.#read(reply.conversation_id, request, { signal, text, reasoning });
  }

  /** Read a reply from its start: a running one, such as `running_message_id`, or one that has ended. */
  follow(conversationId: string, id: string, { signal }: { signal?: AbortSignal } = {}): Reply {
    return this.#read(conversationId, { method: "GET", path: `${placeOf(conversationId, id)}/stream`, headers: {} }, { signal });
  }

  /** Stop the running reply of a conversation, and return it as it is saved. */
  stop(conversationId: string): Promise<Message> {
    return this.call("POST", `${placeOf(conversationId)}/stop`);
  }

  /** Make a request of the API and return the JSON of its answer. Throws `ChatError`, `ConnectionLost`. */
  async call<Answer>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const answer = await this.#request(method, path, { body, headers: { ...headers, Accept: "application/json" } }).catch((problem: unknown) => {
      throw new ConnectionLost("The service can't be reached.", { cause: problem });
    });
    if (!answer.ok) throw await refusalOf(answer);
    return (answer.status === 204 ? undefined : await answer.json()) as Answer;
  }

  #reply(conversationId: string, method: "POST" | "PUT", path: string, body: unknown, { key, signal }: { key: string | undefined; signal: AbortSignal | undefined }): Reply {
    return this.#read(conversationId, { method, path, body, headers: keyed(key) }, { signal });
  }

  #read(conversationId: string, request: ReplyRequest, options: { signal?: AbortSignal | undefined; text?: string; reasoning?: string }): Reply {
    const stop = async (key: string | undefined) => {
      await this.call("POST", `${placeOf(conversationId)}/stop`, undefined, key ? { "Idempotency-Key": key } : {});
    };
    return new Reply({ fetch: (method, path, more) => this.#request(method, path, more), stop }, request, options);
  }

  async #request(method: string, path: string, { body, headers, signal }: { body?: unknown; headers: Record<string, string>; signal?: AbortSignal }): Promise<Response> {
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    return this.#fetch(this.#base + path, {
      method,
      headers: { ...headers, Authorization: `Bearer ${token}`, ...(body !== undefined && { "Content-Type": "application/json" }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(signal && { signal }),
    });
  }

  async *#items<Item>(path: string, filters: Query): AsyncGenerator<Item> {
    for await (const page of this.#pages<Item>(path, filters)) yield* page;
  }

  async *#pages<Item>(path: string, filters: Query): AsyncGenerator<Item[]> {
    const query = new URLSearchParams(Object.entries(filters).map(([name, value]) => [name, String(value)]));
    for (let next: string | null = ""; next !== null; query.set("cursor", next ?? "")) {
      const page: Page<Item> = await this.call("GET", `${path}?${query}`);
      yield page.items;
      next = page.next;
    }
  }
}

function placeOf(conversationId: string, messageId?: string): string {
  const place = `/api/conversations/${encodeURIComponent(conversationId)}`;
  return messageId === undefined ? place : `${place}/messages/${encodeURIComponent(messageId)}`;
}

function keyed(key: string | undefined): Record<string, string> {
  return { "Idempotency-Key": key ?? crypto.randomUUID() };
}
