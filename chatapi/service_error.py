"""The base class of all errors for clients. It imports nothing of the project and nothing of Django, so every package may
import it, and the server before it patches the process."""

from typing import Any, ClassVar

# In the environ of a request that is refused before its view: the `ServiceError` with which to answer it.
ERROR_KEY = "chatapi.error"


class ServiceError(Exception):
    """An expected failure with a code, an HTTP status and a sentence that the client can act on.

    `extra` holds further public fields of the error body, such as `message_id`.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    detail: ClassVar[str] = "The service failed unexpectedly. Try again later."

    def __init__(self, detail: str | None = None, *, retry_after_s: int | None = None, **extra: Any) -> None:
        self.text = detail or self.detail
        self.retry_after_s = retry_after_s
        # Headers of the response, in addition to Retry-After.
        self.headers: dict[str, str] = {}
        self.extra = extra
        super().__init__(self.text)

    def response_headers(self) -> dict[str, str]:
        retry_after = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return {**retry_after, **self.headers}

    def as_json(self) -> dict[str, Any]:
        return {"detail": self.text, "code": self.code, **self.extra}
