"""Failures of the inference service, with the errors that clients see."""

import ssl
from dataclasses import dataclass

import requests
import urllib3.exceptions

from chatapi.service_error import ServiceError


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the inference service refused a request: its status, its error's code and type, and the fields it doesn't know."""

    # None if it said so in the stream of a 200.
    status: int | None
    error_code: str = ""
    error_type: str = ""
    fields: frozenset[str] = frozenset()


class UpstreamFailure(ServiceError):
    """The inference service failed. The client gets the code, and the reply stores it as `error_code`."""

    code = "upstream_error"
    status = 502
    detail = "The model failed while it wrote the reply."
    # Set if it refused the request.
    refusal: Refusal | None = None

    @property
    def is_users_own(self) -> bool:
        """Whether the request is at fault, and not the service."""
        return self.status == 400


class UpstreamError(UpstreamFailure):
    """It answered with an error, closed the connection early, or violated its protocol."""


class ContentRefused(UpstreamFailure):
    """It refused the request because of what the user wrote. The question stays out of later requests."""

    code = "content_refused"
    status = 400
    detail = "The model's provider refused this message because of its content. Write it in other words."


class ContextTooLong(UpstreamFailure):
    """It refused the request because it is longer than the model's context, also without the conversation before it."""

    code = "context_too_long"
    status = 400
    detail = "This message is too long for the model, even without the earlier messages. Send a shorter one."
    # The model's limit and the length of the request, in tokens, if the service names both.
    named_tokens: tuple[int, int] | None = None
    # Whether it also names what was kept free for the reply.
    names_max_tokens = False


class ValueRefused(UpstreamFailure):
    """It refused the request because of a value that its user chose: `field`."""

    code = "value_refused"
    status = 400
    detail = "The model's provider refused a value of this request. Choose another one."
    field = ""

    @classmethod
    def of(cls, field: str, bounds: str) -> "ValueRefused":
        """Return the failure in the form of other invalid fields. `bounds` is a sentence or ""."""
        reason = " ".join(filter(None, ("The model's provider refused this value.", bounds)))
        failure = cls(f"{field}: {reason}", fields={field: [reason]})
        failure.field = field
        return failure


class ModelGone(UpstreamFailure):
    """It does not have the model that was chosen."""

    code = "model_gone"
    status = 400
    detail = "The inference service no longer has this model. Choose another one for the conversation, and send again."


class UpstreamUnavailable(UpstreamFailure):
    code = "upstream_unavailable"
    status = 503
    detail = "The model is unavailable right now. Try again in a moment."


class UpstreamBusy(UpstreamFailure):
    """It takes no more requests at the moment. It may say for how long."""

    code = "upstream_busy"
    status = 503
    detail = "The model has too many requests right now. Try again in a moment."


class UpstreamRefused(UpstreamFailure):
    """It refused this service, not this request: because of the key, the payment, or what the key may do."""

    code = "upstream_refused"
    status = 502
    detail = "The model's provider refused this service. Trying again does not help; tell the people who run it."


class UpstreamTimeout(UpstreamFailure):
    code = "upstream_timeout"
    status = 504
    detail = "The model took too long to reply."


class NotSaved(UpstreamFailure):
    code = "not_saved"
    status = 503
    detail = (
        "The service could not save the whole reply. When you reload the conversation, the end of the reply may be missing."
    )


class NotAllowedAnyMore(UpstreamFailure):
    """The user's tokens were used up when the turn of a message that had waited came. The inference service was not asked."""

    code = "quota_exceeded"
    status = 429
    detail = "You had used all your tokens when this message had its turn. Send it again when you may."


class NoAnswer(UpstreamFailure):
    code = "no_answer"
    detail = (
        "The model ended without an answer. If it used up its tokens while it was thinking, try again with a larger max_tokens."
    )


class ToolCallUnsupported(UpstreamFailure):
    code = "tool_call_unsupported"
    detail = "The model called a tool instead of answering. This service has no tools for it. Ask again in other words."


class NotSupported(ServiceError):
    code = "not_supported"
    status = 501
    detail = "The inference service does not support this operation."


class UnknownModel(ServiceError):
    code = "invalid"
    status = 400
    detail = "The inference service does not know this model. GET /api/models lists the known models."


class StoreUnavailable(Exception):
    """The store of replies is unreachable. The same call may succeed later."""


FAILURES: dict[str, type[UpstreamFailure]] = {
    kind.code: kind
    for kind in (
        UpstreamError,
        ContentRefused,
        ContextTooLong,
        ValueRefused,
        ModelGone,
        UpstreamUnavailable,
        UpstreamBusy,
        UpstreamRefused,
        UpstreamTimeout,
        NotSaved,
        NotAllowedAnyMore,
        NoAnswer,
        ToolCallUnsupported,
    )
}


# What statuses mean. 520 to 527 and 530 are Cloudflare's, for the server behind it; 529 is Anthropic's. All others are an
# `UpstreamError`.
FAILURES_BY_STATUS: dict[int, type[UpstreamFailure]] = {
    **dict.fromkeys((429, 529), UpstreamBusy),
    **dict.fromkeys((503, 521, 523, 525, 526, 530), UpstreamUnavailable),
    **dict.fromkeys((408, 504, 522, 524, 598, 599), UpstreamTimeout),
    **dict.fromkeys((401, 402, 403, 407), UpstreamRefused),
}


def failure_of_status(status: int) -> UpstreamFailure:
    """Map an HTTP status other than success. Redirects are not followed, so they are failures too."""
    return FAILURES_BY_STATUS.get(status, UpstreamError)()


def failure_of_exception(exc: Exception) -> UpstreamFailure:
    """Map an exception of requests or urllib3 from connecting, waiting or reading."""
    # NewConnectionError first: urllib3 derives it from ConnectTimeoutError, but it means a refused connection.
    if isinstance(exc, urllib3.exceptions.NewConnectionError):
        return UpstreamUnavailable()
    # A rejected certificate. Other TLS failures can happen in the middle of an answer.
    if isinstance(exc, urllib3.exceptions.SSLError) and isinstance(exc.args[0], ssl.SSLCertVerificationError):
        return UpstreamUnavailable()
    if isinstance(exc, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError):
        return UpstreamTimeout()
    # requests wraps this. "Connection aborted" means that the service accepted the request and then disconnected.
    was_connected = bool(exc.args) and isinstance(exc.args[0], urllib3.exceptions.ProtocolError)
    if isinstance(exc, requests.ConnectionError) and not was_connected:
        return UpstreamUnavailable()
    return UpstreamError()
