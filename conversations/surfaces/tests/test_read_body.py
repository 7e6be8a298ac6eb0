"""What stays of a body that has been read."""

import tracemalloc
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from chatapi.api.bodies import Body, read_body
from chatapi.api.wire import StrictJSONParser
from conversations.surfaces.ai_sdk import requests as ai_sdk
from conversations.surfaces.api import requests as api
from conversations.surfaces.completion import requests as completion
from conversations.surfaces.openai import requests as openai
from conversations.surfaces.sessions import requests as sessions

SIZE = 250 * 1024
MANY = b"[" + b"{}," * ((SIZE - 1000) // 3) + b"{}]"
# A body of each surface that begins a reply, and a field that it ignores. The contract surface refuses unknown fields.
BODIES: dict[str, tuple[type[Body], dict[str, Any], str]] = {
    "api": (api.SendBody, {"content": "hi"}, "unknown"),
    "sessions": (sessions.SendBody, {"session_id": "s", "message": "hi"}, "history"),
    "completion": (completion.CompletionBody, {"message": "hi"}, "unknown"),
    "ai_sdk": (
        ai_sdk.SubmitBody,
        {"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]},
        "unknown",
    ),
    "openai": (openai.ResponseCreateBody, {"input": "hi"}, "unknown"),
}


def request_with(body: bytes) -> Request:
    made = APIRequestFactory().post("/", data=body, content_type="application/json")
    return Request(made, parsers=[StrictJSONParser()], parser_context={"request": SimpleNamespace(path="/", _request=made)})


@pytest.mark.parametrize("surface", BODIES)
def test_what_is_ignored_is_not_kept_while_the_request_waits_for_its_answer(surface: str) -> None:
    kind, known, ignored = BODIES[surface]
    body = orjson.dumps(known)[:-1] + b', "%s": %s}' % (ignored.encode(), MANY)
    read_body(kind, request_with(orjson.dumps(known)))
    tracemalloc.start()
    try:
        request = request_with(body)
        found = read_body(kind, request)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak > 10 * SIZE
    # The test's own request keeps the body as bytes.
    assert kept < 2 * SIZE
    assert found
