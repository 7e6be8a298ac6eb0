"""Errors in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`.

Principle: every failure under /v1 has this form, also those from before a view is known: an unknown path, a refused body, a
rate limit. So the responses of this surface are rewritten after its views, which know nothing of it.

The `openai` packages repeat requests on their own after 408, 409, 429 and 5xx, unless `x-should-retry` is false. It is false
where the same request would fail again (409, a used-up quota), and where the service has saved the question: repeating it
would ask it twice.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from django.http.response import HttpResponse, HttpResponseBase

from chatapi.observability.logs import trace_id_var
from chatapi.service_error import ServiceError
from conversations.exceptions import QuotaExceeded

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
# What the fields of other surfaces are called here, and those that have another name in chat completions.
PARAMETERS = {"model_tag": "model"}
# Of sentences that other surfaces share.
WORDS = {"/api/models": "/v1/models", "model_tag": "model"}
RESPONSE_PARAMETERS = {**PARAMETERS, "max_tokens": "max_output_tokens"}


class StillRunning(ServiceError):
    code = "unavailable"
    status = 503
    detail = "The server is shutting down, and the response continues. Retrieve it, or repeat the same request."


class Interrupted(ServiceError):
    code = "unavailable"
    status = 503
    detail = "The server stopped before the reply was complete. Its text so far is kept in the conversation."


def give_openai_form(response: HttpResponseBase) -> None:
    """Rewrite an error, and name the request."""
    _give_form(response, RESPONSE_PARAMETERS)


def give_chat_form(response: HttpResponseBase) -> None:
    """Do the same for chat completions."""
    _give_form(response, PARAMETERS)


def _give_form(response: HttpResponseBase, parameters: Mapping[str, str]) -> None:
    # The packages show it as `request_id`.
    response["X-Request-Id"] = trace_id_var.get()
    if isinstance(response, HttpResponse) and response.status_code >= 400:
        _rewrite(response, parameters)


def _rewrite(response: HttpResponse, parameters: Mapping[str, str]) -> None:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        body = {}
    said: dict[str, Any] = body if isinstance(body, dict) else {}
    response.content = orjson.dumps({"error": error_of(response.status_code, said, parameters)})
    response["Content-Type"] = "application/json"
    response["Content-Length"] = str(len(response.content))
    # Errors name a message if they concern a reply that was saved.
    if (
        response.status_code == 409
        or said.get("code") == QuotaExceeded.code
        or (response.status_code >= 500 and "message_id" in said)
    ):
        response["X-Should-Retry"] = "false"


def error_of(status: int, said: dict[str, Any], parameters: Mapping[str, str] = PARAMETERS) -> dict[str, Any]:
    """Return the error for a body in the form of the other surfaces. `parameters` are fields that have another name here."""
    name = next(iter(said.get("fields") or {}), None)
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {
        "message": _in_words_of_v1(said.get("detail", "The request failed.")),
        "type": kind,
        "param": parameters.get(name, name) if name else None,
        "code": said.get("code", "invalid"),
    }


def _in_words_of_v1(message: Any) -> Any:
    """Return a sentence of the other surfaces with the names that things have here."""
    if not isinstance(message, str):
        return message
    for theirs, ours in WORDS.items():
        message = message.replace(theirs, ours)
    return message
