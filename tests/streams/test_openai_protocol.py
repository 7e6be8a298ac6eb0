"""An inference service that speaks OpenAI's protocol looks to clients like any other."""

from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import Step, die, done, event, hang_up, hold, raw, respond, token, tokens
from tests.support.upstream import ScriptedUpstream


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    settings = {
        "INFERENCE_PROTOCOL": "openai",
        "INFERENCE_MODEL": "tiny",
        "INFERENCE_API_KEY": "a-bearer-key",
        "SYSTEM_PROMPT": "Answer in verse.",
    }
    with new_server(**settings) as server:
        yield server


def test_deltas_become_token_objects_one_by_one(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(token(None), tokens("Hé", "llo"), hold(gate), token(" 😀"), done())
    stream = client.send(conversation, "hello")
    assert [stream.read_object(), stream.read_object()] == [{"token": "Hé"}, {"token": "llo"}]
    gate.open()
    assert stream.finish()["status"] == "complete"
    assert [frame.id for frame in stream.frames if frame.object and "token" in frame.object] == [2, 5, 7]
    assert client.message(conversation, stream.message_id)["content"] == "Héllo 😀"


def test_usage_is_stored(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("a", "b"), done(usage={"prompt_tokens": 11, "completion_tokens": 42, "total_tokens": 53}))
    stream = client.ask(conversation, "usage")
    assert stream.objects[-1]["token_count"] == 42
    assert client.message(conversation, stream.message_id)["token_count"] == 42


def test_tokens_are_counted_where_no_usage_comes(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("a", "b", "c"), done())
    assert client.ask(conversation, "no usage").objects[-1]["token_count"] == 3


def test_a_finish_reason_is_enough_of_an_end(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("whole"), done(marker=False))
    stream = client.ask(conversation, "no marker")
    assert client.message(conversation, stream.message_id)["status"] == "complete"


@pytest.mark.parametrize(
    "end", [(die(),), (hang_up(),), (raw(b'data: {"choi'), die())], ids=["reset", "closed", "inside an event"]
)
def test_a_connection_that_breaks_after_the_finish_reason_loses_nothing(
    client: Client, conversation: str, upstream: ScriptedUpstream, end: tuple[Step, ...]
) -> None:
    upstream.script(tokens("whole"), done(marker=False), *end)
    stream = client.ask(conversation, "cut at the end")
    message = client.message(conversation, stream.message_id)
    assert (message["content"], message["status"]) == ("whole", "complete")


def test_an_error_after_the_finish_reason_still_fails_the_reply(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens("so far"), done(marker=False), event('{"error": {"message": "out of memory"}}'))
    stream = client.send(conversation, "break at the end")
    assert stream.finish()["status"] == "failed"


@pytest.mark.parametrize("choices", ["", '"choices": null,', '"choices": [],'], ids=["missing", "null", "empty"])
def test_usage_may_come_without_choices(client: Client, conversation: str, upstream: ScriptedUpstream, choices: str) -> None:
    usage = event(f'{{{choices} "usage": {{"prompt_tokens": 3, "completion_tokens": 42}}}}')
    upstream.script(usage, tokens("whole"), done(marker=False), usage, event("[DONE]"))
    stream = client.ask(conversation, "usage alone")
    assert stream.objects[-1]["token_count"] == 42
    assert client.message(conversation, stream.message_id)["status"] == "complete"


@pytest.mark.parametrize("reason", [r"st\u0000op", r"st\ud800op", "s" * 500], ids=["NUL", "surrogate", "long"])
def test_a_finish_reason_that_cannot_be_stored_costs_nothing(
    client: Client, conversation: str, upstream: ScriptedUpstream, reason: str
) -> None:
    upstream.script(tokens("whole"), event(f'{{"choices": [{{"delta": {{}}, "finish_reason": "{reason}"}}]}}'), event("[DONE]"))
    stream = client.ask(conversation, "why")
    message = client.message(conversation, stream.message_id)
    assert (message["content"], message["status"]) == ("whole", "complete")


def test_an_emoji_in_two_deltas_is_joined(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    halves = [event(f'{{"choices": [{{"delta": {{"content": "{half}"}}}}]}}') for half in (r"\ud83d", r"\ude00")]
    upstream.script(*halves, done())
    stream = client.ask(conversation, "smile")
    assert stream.text == "😀"
    assert client.message(conversation, stream.message_id)["content"] == "😀"


def test_an_end_without_finish_reason_or_marker_is_a_failure(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens("half"))
    stream = client.send(conversation, "cut off")
    assert stream.finish()["status"] == "failed"
    assert client.message(conversation, stream.message_id)["content"] == "half"


def test_an_error_object_in_mid_stream_fails_the_reply(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("so far"), event('{"error": {"message": "CUDA secret-host out of memory", "code": 500}}'))
    stream = client.send(conversation, "break")
    assert stream.finish()["status"] == "failed"
    assert stream.objects[-2]["error"] == "upstream_error"
    assert "secret-host" not in str(stream.objects)
    message = client.message(conversation, stream.message_id)
    assert (message["content"], message["status"]) == ("so far", "failed")


def test_the_request_is_what_such_servers_expect(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("first answer"), done(), when="first")
    client.ask(conversation, "first")
    client.send(conversation, "second", temperature=0.5, max_tokens=64).finish()
    call = upstream.wait_call("second")
    assert call.path == "/v1/chat/completions"
    assert call.headers["authorization"] == "Bearer a-bearer-key"
    assert call.body["stream"] is True
    assert call.body["stream_options"] == {"include_usage": True}
    assert call.body["model"] == "tiny"
    assert (call.body["temperature"], call.body["max_tokens"]) == (0.5, 64)
    assert call.messages == [
        {"role": "system", "content": "Answer in verse."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "first answer"},
        {"role": "user", "content": "second"},
    ]


def test_a_conversations_model_is_asked_for_by_name(client: Client, upstream: ScriptedUpstream) -> None:
    client.ask(client.create_conversation(model_tag="large"), "who are you")
    assert upstream.wait_call("who are you").body["model"] == "large"


def test_a_refusal_is_not_echoed(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(respond("401 Unauthorized", b'{"error": {"message": "bad key sk-secret"}}'))
    stream = client.send(conversation, "refuse")
    assert stream.status == 502
    body = stream.body()
    assert b"upstream_refused" in body
    assert b"sk-secret" not in body
