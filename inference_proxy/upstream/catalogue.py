"""Which models the inference service has, and swapping the one that is loaded."""

from http import HTTPStatus
from typing import Any

import requests
from django.conf import settings

from chatapi.observability.tracing import trace_headers
from chatapi.outgoing.outbound import UnusableResponse, call_json, call_json_idempotently, new_session
from chatapi.service_error import ServiceError
from inference_proxy.exceptions import NotSupported, UnknownModel, UpstreamError, failure_of_exception, failure_of_status
from inference_proxy.protocols import new_protocol
from inference_proxy.upstream.retry_after import read_retry_after

CALL_DEADLINE_S = 10.0

_session = new_session()


def read_models(deadline_s: float = CALL_DEADLINE_S) -> dict[str, Any]:
    """Return `{"current_model", "models": [{"model_tag", "source", "path", "loaded"}]}`. Raises `UpstreamFailure`."""
    protocol = new_protocol()
    return protocol.read_models(_call("GET", protocol.models_path, deadline_s=deadline_s))


def swap_model(model_tag: str) -> dict[str, Any]:
    """Ask for another model and return `{"status", "current_model"}`. Raises `UpstreamFailure` or `NotSupported`."""
    path = new_protocol().swap_path
    if path is None:
        raise NotSupported("This inference service chooses its model by each request; there is nothing to swap.")
    return _call("POST", path, {"model_tag": model_tag}, refusal=UnknownModel())


def _call(
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    refusal: ServiceError | None = None,
    deadline_s: float = CALL_DEADLINE_S,
) -> dict[str, Any]:
    headers = {**new_protocol().headers(), **trace_headers()}
    call = call_json_idempotently if method == "GET" else call_json
    try:
        status, answer, retry_after = call(
            _session, method, settings.INFERENCE_SERVICE_URL + path, json=body, headers=headers, deadline_s=deadline_s
        )
    except requests.RequestException as failure:
        raise failure_of_exception(failure) from None
    except UnusableResponse:
        raise UpstreamError from None
    if refusal is not None and status in (400, 404, 422):
        raise refusal
    if not 200 <= status < 300:
        refused = failure_of_status(status)
        if refused.status == HTTPStatus.SERVICE_UNAVAILABLE:
            refused.retry_after_s = read_retry_after(retry_after)
        raise refused
    return answer
