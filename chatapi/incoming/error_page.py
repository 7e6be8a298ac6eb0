"""Responses for errors outside the REST framework's views."""

import orjson
from django.http import HttpResponse

from chatapi.service_error import ServiceError


def error_page(error: ServiceError) -> HttpResponse:
    """Return the response for an error outside the REST framework's views."""
    body = orjson.dumps(error.as_json(), default=str, option=orjson.OPT_UTC_Z)
    return HttpResponse(body, "application/json", error.status, headers=error.response_headers())
