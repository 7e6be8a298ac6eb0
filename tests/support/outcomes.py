"""Assertions about replies that failed."""

import json

from .client import Client, Stream


def assert_failed(client: Client, conversation: str, stream: Stream, *, code: str, text: str) -> None:
    """Check that the stream ended with an error and `done`, and that the text it sent was saved."""
    last = stream.finish()
    assert (last["status"], last["message_id"]) == ("failed", stream.message_id)
    assert stream.objects[-2]["error"] == code
    assert stream.objects[-2]["detail"]
    assert stream.text == text
    message = client.message(conversation, stream.message_id)
    assert (message["content"], message["status"], message["error_code"]) == (text, "failed", code)


def assert_refused(client: Client, conversation: str, stream: Stream, *, status: int, code: str) -> None:
    """Check for an HTTP error that names both messages, which are saved, and that shows nothing of the upstream's body."""
    assert stream.status == status
    assert stream.headers["Content-Type"].split(";")[0] == "application/json"
    body = stream.body()
    assert b"gpu-7" not in body
    kept = client.messages(conversation)
    assert [(item["role"], item["status"]) for item in kept[1:]] == [("assistant", "failed")]
    error = json.loads(body)
    assert (error["code"], error["message_id"], error["user_message_id"]) == (code, kept[1]["id"], kept[0]["id"])
    assert error["detail"]
