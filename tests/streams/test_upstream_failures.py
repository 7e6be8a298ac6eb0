"""Whatever the inference service does, clients get an error they can read, and keep what had come."""

import pytest

from tests.support.client import Client
from tests.support.outcomes import assert_failed, assert_refused
from tests.support.steps import Step, die, done, event, hang_up, hold, raw, respond, stall, tokens, unchunked, wire
from tests.support.upstream import ScriptedUpstream

SECRET = b'{"detail": "node gpu-7 at 10.1.2.3 failed"}'
TWENTY = tuple(f"t{number} " for number in range(20))


@pytest.mark.parametrize("end", [(die(),), (hang_up(),), ()], ids=["reset", "closed", "body ends"])
def test_tokens_before_the_upstream_dies_are_kept(
    client: Client, conversation: str, upstream: ScriptedUpstream, end: tuple[Step, ...]
) -> None:
    upstream.script(tokens(*TWENTY), *end)
    stream = client.send(conversation, "tell me fifty")
    assert_failed(client, conversation, stream, code="upstream_error", text="".join(TWENTY))


@pytest.mark.parametrize("framing", [(), (unchunked(),)], ids=["chunked", "unchunked"])
@pytest.mark.parametrize("end", [die(), hang_up()], ids=["reset", "closed"])
def test_half_an_event_is_not_shown(
    client: Client, conversation: str, upstream: ScriptedUpstream, framing: tuple[Step, ...], end: Step
) -> None:
    upstream.script(*framing, tokens("whole"), raw(b'data: {"token": "ha'), end)
    stream = client.send(conversation, "break inside")
    assert_failed(client, conversation, stream, code="upstream_error", text="whole")


@pytest.mark.parametrize(
    "garbage",
    ["{broken", '"text"', "[1]", '{"token": ["a"]}', '{"error": "node gpu-7 failed"}'],
)
def test_an_event_that_is_no_token_fails_the_reply(
    client: Client, conversation: str, upstream: ScriptedUpstream, garbage: str
) -> None:
    upstream.script(tokens("fine"), event(garbage), stall())
    stream = client.send(conversation, "garbage")
    assert_failed(client, conversation, stream, code="upstream_error", text="fine")
    assert "gpu-7" not in str(stream.frames)
    upstream.generations()[0].wait_client_left()


def test_an_upstream_that_is_away_is_a_503(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    with upstream.away():
        stream = client.send(conversation, "anyone there?")
        assert_refused(client, conversation, stream, status=503, code="upstream_unavailable")
    assert client.ask(conversation, "and now?").text == "and now?"


def test_an_upstream_that_restarted_between_two_sends_is_no_error(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    client.ask(conversation, "before")
    with upstream.away():
        pass
    assert client.ask(conversation, "after").text == "after"


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (respond("503 Service Unavailable", SECRET), 503, "upstream_unavailable"),
        (respond("500 Internal Server Error", SECRET), 502, "upstream_error"),
        (respond("400 Bad Request", SECRET), 502, "upstream_error"),
        (respond("401 Unauthorized", SECRET), 502, "upstream_refused"),
        (respond("429 Too Many Requests", SECRET), 503, "upstream_busy"),
        (respond("307 Temporary Redirect", SECRET, {"Location": "/elsewhere"}), 502, "upstream_error"),
        (die(), 502, "upstream_error"),
    ],
    ids=["503", "500", "400", "401", "429", "redirect", "reset"],
)
def test_a_refusal_is_an_http_error_without_its_body(
    client: Client, conversation: str, upstream: ScriptedUpstream, refusal: Step, status: int, code: str
) -> None:
    upstream.script(refusal)
    stream = client.send(conversation, "no")
    assert_refused(client, conversation, stream, status=status, code=code)
    # A kept connection that breaks before a byte of the answer has come is tried once more.
    assert {call.path for call in upstream.calls} == {"/generate"}
    assert len(upstream.calls) <= 2


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson", "text/event-stream"])
def test_a_refusal_is_json_whatever_was_asked_for(
    client: Client, conversation: str, upstream: ScriptedUpstream, accept: str
) -> None:
    upstream.script(respond("503 Service Unavailable", SECRET))
    stream = client.send(conversation, "no", headers={"Accept": accept})
    assert_refused(client, conversation, stream, status=503, code="upstream_unavailable")


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable", "529 Overloaded"])
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_how_long_to_wait_is_passed_on(
    client: Client, conversation: str, upstream: ScriptedUpstream, status: str, accept: str
) -> None:
    upstream.script(respond(status, SECRET, {"Retry-After": "17"}))
    stream = client.send(conversation, "no", headers={"Accept": accept})
    assert (stream.status, stream.headers["Retry-After"]) == (503, "17")


def test_how_long_to_wait_is_passed_on_in_a_stream(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(hold(gate), respond("429 Too Many Requests", SECRET, {"Retry-After": "17"}))
    stream = client.send(conversation, "slow")
    assert stream.status == 200
    gate.open()
    assert_failed(client, conversation, stream, code="upstream_busy", text="")
    assert stream.objects[-2]["retry_after"] == 17


def test_the_user_can_go_on_after_a_failure(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(respond("500 Internal Server Error"), when="first")
    assert client.send(conversation, "first").status == 502
    assert client.ask(conversation, "second").text == "second"


def test_a_slow_upstream_gets_a_stream_and_its_failure_is_a_frame(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(hold(gate), respond("500 Internal Server Error", SECRET))
    stream = client.send(conversation, "slow")
    assert stream.status == 200
    first = stream.read()
    assert first and first.comment is not None
    gate.wait_held()
    gate.open()
    assert_failed(client, conversation, stream, code="upstream_error", text="")
    assert "gpu-7" not in str(stream.frames)


def test_a_slow_upstream_that_answers_after_all_is_no_failure(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(hold(gate), tokens("at last"), done())
    stream = client.send(conversation, "slow")
    assert stream.status == 200
    gate.open()
    assert stream.finish()["status"] == "complete"
    assert stream.text == "at last"


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_interim_answers_are_skipped(client: Client, conversation: str, upstream: ScriptedUpstream, status: str) -> None:
    interim = wire(f"HTTP/1.1 {status}\r\nLink: </style.css>; rel=preload\r\n\r\n".encode())
    upstream.script(interim, interim, tokens("the answer"), done())
    assert client.ask(conversation, "hints").text == "the answer"


@pytest.mark.parametrize(
    "sign",
    [
        raw(b"event: error\ndata: {}\n\n"),
        raw(b'error: {"code": 500}\n\n'),
        event('{"object": "error", "message": "x"}'),
        event('{"base_resp": {"status_code": 1}}'),
        event('{"finish_reason": "abort"}'),
    ],
)
def test_a_failure_inside_the_stream_does_not_replace_the_good_answer(
    client: Client, conversation: str, upstream: ScriptedUpstream, sign: Step
) -> None:
    good = client.ask(conversation, "question")
    upstream.script(tokens("frag"), sign, event('{"done": true}'), when="question")
    client.regenerate(conversation).finish()
    replies = [message for message in client.messages(conversation) if message["role"] == "assistant" and message["is_active"]]
    assert [(message["id"], message["status"]) for message in replies] == [(good.message_id, "complete")]
