"""Streams of frames: which pieces the server gets."""

import logging

import orjson
import pytest
from django.test import RequestFactory

from inference_proxy.replies.streams import SSE, FrameStream, escape_line_ends
from inference_proxy.replies.transcript import Transcript


def stream_of(transcript: Transcript) -> FrameStream:
    return FrameStream(transcript.follow(), SSE, RequestFactory().get("/"), on_close=lambda: None)


def test_what_has_come_leaves_with_the_greeting() -> None:
    transcript = Transcript()
    transcript.append(b'{"token": "a"}', "a")
    stream = stream_of(transcript)
    assert next(stream) == b': stream\nid: 1\ndata: {"token": "a"}\n\n'
    transcript.append(b'{"token": "b"}', "b")
    transcript.wake()
    assert next(stream) == b'id: 2\ndata: {"token": "b"}\n\n'


def test_a_reply_that_has_ended_is_one_piece() -> None:
    transcript = Transcript()
    transcript.append(b'{"token": "a"}', "a")
    transcript.close([("done", b"{}")])
    assert list(stream_of(transcript)) == [b': stream\nid: 1\ndata: {"token": "a"}\n\nid: done\ndata: {}\n\n']


def test_the_greeting_does_not_wait_for_the_first_frame() -> None:
    assert next(stream_of(Transcript())) == b": stream\n"


def test_a_failure_at_the_beginning_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise ValueError("broken")

    transcript = Transcript()
    monkeypatch.setattr(transcript, "frames_from", fail)
    caplog.set_level(logging.ERROR)
    said = b"".join(stream_of(transcript))
    assert said.startswith(b': stream\ndata: {"error":"internal_error"')
    assert "following a reply failed" in caplog.text


@pytest.mark.parametrize("character", ["\u0085", "\u2028", "\u2029"])
def test_line_ends_of_unicode_are_escaped_in_json(character: str) -> None:
    data = orjson.dumps({"token": f"ä{character}b"})
    escaped = escape_line_ends(data)
    assert orjson.loads(escaped) == {"token": f"ä{character}b"}
    assert len(escaped.decode().splitlines()) == 1
