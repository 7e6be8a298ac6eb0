"""Long bodies: what is ignored of them is not built."""

import contextlib
import tracemalloc
from typing import Any

import orjson
import pytest

from chatapi.incoming.request_bodies import PayloadTooLarge
from conversations.surfaces.ai_sdk.requests import MOST_MESSAGES, SubmitParser
from conversations.surfaces.sessions.requests import SendParser

SIZE = 4 * 1024 * 1024
EMPTY_OBJECTS = b"[" + b"{}," * (SIZE // 3) + b"{}]"
QUESTION = {"id": "q1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}
EMPTY: dict[str, str] = {}
ANSWER = {"id": "a1", "role": "assistant", "parts": [{"type": "text", "text": 'it says "role"'}], "more": [1, {}]}


def peak_of(call: Any) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("ignored", ["history", "unknown", "language"])
def test_what_a_session_ignores_is_not_built(ignored: str) -> None:
    body = b'{"session_id": "s", "%s": %s, "message": "hi"}' % (ignored.encode(), EMPTY_OBJECTS)
    assert SendParser().parse_long(body) == {"session_id": "s", "message": "hi"}
    assert peak_of(lambda: SendParser().parse_long(body)) < SIZE


@pytest.mark.parametrize("field", ["id", "messages", "unknown", "trigger"])
def test_objects_in_any_field_of_a_chat_are_not_built(field: str) -> None:
    body = b'{"id": "c", "%s": %s}' % (field.encode(), EMPTY_OBJECTS)

    def parse() -> None:
        with contextlib.suppress(PayloadTooLarge):
            SubmitParser().parse_long(body)

    assert peak_of(parse) < 3 * SIZE


def test_the_last_question_of_a_long_chat_is_read_and_the_ids_before_it() -> None:
    last = {**QUESTION, "id": "q2"}
    said = [QUESTION, {**ANSWER, "id": EMPTY}, {"role": "assistant"}, {"role": "system", "id": "s"}, ANSWER]
    body = orjson.dumps({"id": "c", "messages": [*said, last, ANSWER], "trigger": "submit-message"})
    before = [
        {"role": "user", "id": "q1"},
        {"role": "assistant", "id": False},
        {"role": "assistant", "id": None},
        {"role": "assistant", "id": "a1"},
    ]
    assert SubmitParser().parse_long(body) == {"id": "c", "messages": [*before, last], "trigger": "submit-message"}


def test_a_chat_of_too_many_messages_is_too_large() -> None:
    with pytest.raises(PayloadTooLarge):
        SubmitParser().parse_long(orjson.dumps({"id": "c", "messages": [{"role": 1}] * (MOST_MESSAGES + 1)}))


def test_one_long_string_is_read_so_that_its_field_can_refuse_it() -> None:
    message = "x" * 300_000
    assert SendParser().parse_long(orjson.dumps({"message": message})) == {"message": message}


@pytest.mark.parametrize("body", [b"[1]", b"1", b'"text"', b"null"])
def test_what_is_no_object_is_left_to_the_validation(body: bytes) -> None:
    assert SendParser().parse_long(body) is None
