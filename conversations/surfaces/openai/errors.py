"""Errors in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`.

Principle: every failure under /v1 has this form, also those from before a view is known: an unknown address, a refused body, a
rate limit. So a middleware rewrites the answers of this surface, and no view knows about it.

The `openai` packages repeat requests on their own after 408, 409, 429 and 5xx, unless `x-should-retry` is false. It is false
where the same request would fail again (409, a used-up quota), and where the service has saved the question: repeating it
would ask it twice.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from django.http import HttpRequest
from django.http.response import HttpResponse, HttpResponseBase

from chatapi.observability.logs import trace_id_var
from chatapi.problem import Problem
from conversations.exceptions import QuotaExceeded

PREFIX = "/v1/"
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
# What the fields of other surfaces are called here, and those that have another name in chat completions.
PARAMETERS = {"model_tag": "model"}
RESPONSE_PARAMETERS = {**PARAMETERS, "max_tokens": "max_output_tokens"}
CHAT_PREFIX = "/v1/chat/"


class StillRunning(Problem):
    code = "unavailable"
    status = 503
    detail = "The server is shutting down, and the response continues. Retrieve it, or repeat the same request."


class Interrupted(Problem):
    code = "unavailable"
    status = 503
    detail = "The server stopped before the reply was complete. Its text so far is kept in the conversation."


class OpenAIErrorsMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        if not request.path_info.startswith(PREFIX):
            return response
        # The packages show it as `request_id`.
        response["X-Request-Id"] = trace_id_var.get()
        if isinstance(response, HttpResponse) and response.status_code >= 400:
            _rewrite(response, PARAMETERS if request.path_info.startswith(CHAT_PREFIX) else RESPONSE_PARAMETERS)
        return response


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
        "message": said.get("detail", "The request failed."),
        "type": kind,
        "param": parameters.get(name, name) if name else None,
        "code": said.get("code", "invalid"),
    }
