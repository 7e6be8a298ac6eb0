"""What the service refuses, as exceptions. Each has the `code` for programs and the `detail` for people."""

from collections.abc import Mapping
from typing import Any


class ChatError(Exception):
    """The service refused a request.

    `code` and `detail` are the service's, `body` is all that it said (`fields` names wrong fields, for instance), and
    `retry_after` is the number of seconds after which the request may be repeated, where the service says so.
    """

    def __init__(self, status: int, body: Mapping[str, Any], retry_after: int | None = None) -> None:
        self.status = status
        self.body = body
        self.code = str(body.get("code", ""))
        self.detail = str(body.get("detail", ""))
        self.retry_after = retry_after
        super().__init__(f"{status} {self.code}: {self.detail}")


class Invalid(ChatError):
    """400, 413: the request itself is wrong."""


class NotAuthenticated(ChatError):
    """401: there is no token, or it is not valid."""


class PermissionDenied(ChatError):
    """403"""


class NotFound(ChatError):
    """404: it does not exist, or belongs to another user."""


class GenerationInProgress(ChatError):
    """409: another reply is being written. `message_id` is that reply."""

    @property
    def message_id(self) -> str:
        return str(self.body.get("message_id", ""))


class IdempotencyMismatch(ChatError):
    """422: the same key came with another body."""


class Throttled(ChatError):
    """429: too many requests, streams or tokens."""


class Unavailable(ChatError):
    """5xx: the service, or one that it needs, does not work right now. A message that was saved is in `body`."""


class ConnectionLost(Exception):
    """The service can't be reached, or the connection broke too often. A send can be repeated with its key."""


class ReplyFailed(Exception):
    """A reply came to a bad end. Its text until then is saved."""

    def __init__(self, status: str, code: str, detail: str) -> None:
        self.status, self.code, self.detail = status, code, detail
        super().__init__(detail or f"The reply is {status}.")


BY_STATUS: dict[int, type[ChatError]] = {
    400: Invalid,
    401: NotAuthenticated,
    403: PermissionDenied,
    404: NotFound,
    413: Invalid,
    422: IdempotencyMismatch,
    429: Throttled,
}


def error_of(status: int, body: object, retry_after: str | None) -> ChatError:
    """Return the exception for a refusal."""
    said = body if isinstance(body, dict) else {}
    kind = BY_STATUS.get(status, Unavailable if status >= 500 else ChatError)
    if said.get("code") == "generation_in_progress":
        kind = GenerationInProgress
    return kind(status, said, int(retry_after) if retry_after and retry_after.isdigit() else None)
