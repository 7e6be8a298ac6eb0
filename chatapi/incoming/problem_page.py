"""Responses for problems outside the REST framework's views."""

import orjson
from django.http import HttpResponse

from chatapi.problem import Problem


def problem_page(problem: Problem) -> HttpResponse:
    """Return the response for a problem outside the REST framework's views."""
    body = orjson.dumps(problem.as_json(), default=str, option=orjson.OPT_UTC_Z)
    return HttpResponse(body, "application/json", problem.status, headers=problem.response_headers())
