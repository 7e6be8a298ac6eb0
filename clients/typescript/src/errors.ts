// What the service refuses, as classes. Each has the `code` for programs and the `detail` for people.

/** The service refused a request. `body` is all that it said: `fields` names wrong fields, for instance. */
export class ChatError extends Error {
  readonly code: string;
  readonly detail: string;

  constructor(
    readonly status: number,
    readonly body: Readonly<Record<string, unknown>>,
    /** Seconds after which the request may be repeated, where the service says so. */
    readonly retryAfter: number | null = null,
  ) {
    const { code = "", detail = "" } = body;
    super(`${status} ${code}: ${detail}`);
    this.name = new.target.name;
    this.code = String(code);
    this.detail = String(detail);
  }
}

/** 400, 413: the request itself is wrong. */
export class Invalid extends ChatError {}
/** 401: there is no token, or it is not valid. */
export class NotAuthenticated extends ChatError {}
/** 403 */
export class PermissionDenied extends ChatError {}
/** 404: it does not exist, or belongs to another user. */
export class NotFound extends ChatError {}
/** 409: another reply is being written. */
export class GenerationInProgress extends ChatError {
  /** That reply. */
  get messageId(): string {
    return String(this.body["message_id"] ?? "");
  }
}
/** 422: the same key came with another body. */
export class IdempotencyMismatch extends ChatError {}
/** 429: too many requests, streams or tokens. */
export class Throttled extends ChatError {}
/** 5xx: the service, or one that it needs, does not work right now. A message that was saved is in `body`. */
export class Unavailable extends ChatError {}

/** The service can't be reached, or the connection broke too often. A send can be repeated with its key. */
export class ConnectionLost extends Error {}

/** A reply came to a bad end. Its text until then is saved. */
export class ReplyFailed extends Error {
  constructor(
    readonly status: string,
    readonly code: string,
    readonly detail: string,
  ) {
    super(detail || `The reply is ${status}.`);
    this.name = "ReplyFailed";
  }
}

const BY_STATUS: Record<number, typeof ChatError> = {
  400: Invalid,
  401: NotAuthenticated,
  403: PermissionDenied,
  404: NotFound,
  413: Invalid,
  422: IdempotencyMismatch,
  429: Throttled,
};

/** Return an answer that is no success as an error. */
export async function refusalOf(answer: Response): Promise<ChatError> {
  const said: unknown = await answer.json().catch(() => null);
  const body = typeof said === "object" && said !== null ? (said as Record<string, unknown>) : {};
  const isBusy = body["code"] === "generation_in_progress";
  const Kind = isBusy ? GenerationInProgress : (BY_STATUS[answer.status] ?? (answer.status >= 500 ? Unavailable : ChatError));
  const wait = answer.headers.get("Retry-After");
  return new Kind(answer.status, body, wait && /^\d+$/.test(wait) ? Number(wait) : null);
}
