"""What stays of a body that has been read."""

import tracemalloc
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from chatapi.api.wire import StrictJSONParser
from conversations.surfaces.ai_sdk import requests as ai_sdk
from conversations.surfaces.api import requests as api
from conversations.surfaces.completion import requests as completion
from conversations.surfaces.openai import requests as openai
from conversations.surfaces.request_fields import BodySerializer, read_body
from conversations.surfaces.sessions import requests as sessions

SIZE = 250 * 1024
MANY = b"[" + b"{}," * ((SIZE - 1000) // 3) + b"{}]"
# A body of each surface that begins a reply, and a field that it ignores. The contract surface refuses unknown fields.
BODIES: dict[str, tuple[type[BodySerializer], dict[str, Any], str]] = {
    "api": (api.SendSerializer, {"content": "hi"}, "unknown"),
    "sessions": (sessions.SendSerializer, {"session_id": "s", "message": "hi"}, "history"),
    "completion": (completion.CompletionSerializer, {"message": "hi"}, "unknown"),
    "ai_sdk": (
        ai_sdk.SubmitSerializer,
        {"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]},
        "unknown",
    ),
    "openai": (openai.ResponseCreateSerializer, {"input": "hi"}, "unknown"),
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
        read = read_body(kind, request)
        if isinstance(read, openai.ResponseCreateSerializer):
            assert len(read.take_written()) > SIZE // 2
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak > 10 * SIZE
    # The test's own request keeps the body as bytes.
    assert kept < 2 * SIZE
    assert cast(dict[str, Any], read.validated_data)
