"""A conversation that outgrows the model goes on with its newer part."""

import json
from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.exchange import Exchange
from tests.support.outcomes import assert_failed, assert_refused
from tests.support.server import Server
from tests.support.steps import Step, done, event, respond, tokens
from tests.support.upstream import ScriptedUpstream

# One for each case: what is learnt of a model holds for all its requests.
MODELS = ("400-status", "400-stream", "413-status", "500-status", "named", "unnamed", "small", "streaming", "filling")
WORDS = "This model's maximum context length is {limit} tokens. However, your messages resulted in {length} tokens."


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(INFERENCE_PROTOCOL="openai", MAX_TOKEN_BUDGET="100000", ALLOWED_MODELS=",".join(MODELS)) as server:
        yield server


def model_with(limit: int, *, named: bool = False, status: str = "400 Bad Request", in_stream: bool = False) -> Step:
    """Answer as a model does whose context has this many characters, two for each token."""

    def step(exchange: Exchange) -> None:
        length = sum(len(message["content"]) for message in exchange.call.messages)
        if length <= limit:
            tokens("short ", "enough")(exchange)
            done()(exchange)
            return
        said = WORDS.format(limit=limit // 2, length=length // 2) if named else "prompt is too long"
        error = {"error": {"message": said, "type": "invalid_request_error", "code": "context_length_exceeded"}}
        if in_stream:
            event(json.dumps(error))(exchange)
        else:
            respond(status, json.dumps(error).encode())(exchange)

    return step


def converse(client: Client, conversation: str, upstream: ScriptedUpstream, exchanges: int) -> None:
    upstream.script(tokens("a" * 100), done())
    for number in range(exchanges):
        client.ask(conversation, f"{number}".ljust(100, "q"))


@pytest.mark.parametrize("case", ["400-status", "400-stream", "413-status", "500-status"])
def test_the_history_is_halved_until_the_model_takes_it(client: Client, upstream: ScriptedUpstream, case: str) -> None:
    conversation = client.create_conversation(model_tag=case)
    converse(client, conversation, upstream, 8)
    status, _, place = case.partition("-")
    upstream.script(model_with(700, status=f"{status} Refused", in_stream=place == "stream"), when="now")
    stream = client.ask(conversation, "now")
    assert stream.text == "short enough"
    sent = [len(call.messages) for call in upstream.generations("now")]
    assert sent == [17, 9, 5]
    receipt = client.message(conversation, stream.message_id)["context"]
    assert receipt == {"messages": 5, "characters": 403, "left_out": 12, "reason": "model_limit"}


@pytest.mark.parametrize("case", ["named", "unnamed"])
def test_what_was_learnt_holds_for_the_next_send(client: Client, upstream: ScriptedUpstream, case: str) -> None:
    conversation = client.create_conversation(model_tag=case)
    converse(client, conversation, upstream, 8)
    upstream.script(model_with(1000, named=case == "named"), when="now")
    client.ask(conversation, "now 1")
    stream = client.ask(conversation, "now 2")
    assert len(upstream.generations("now 1")) == 2
    assert len(upstream.generations("now 2")) == 1
    receipt = client.message(conversation, stream.message_id)["context"]
    assert (receipt["reason"], receipt["messages"]) == ("model_limit", len(upstream.generations("now 2")[0].messages))
    assert receipt["left_out"] + receipt["messages"] == 19


def test_a_message_that_is_too_long_alone_is_refused(client: Client, upstream: ScriptedUpstream) -> None:
    conversation = client.create_conversation(model_tag="small")
    upstream.script(model_with(10))
    stream = client.send(conversation, "a message that is long")
    assert_refused(client, conversation, stream, status=400, code="context_too_long")
    # The next one is not joined with it for ever.
    assert client.ask(conversation, "short").text == "short enough"
    assert upstream.generations()[-1].messages == [{"role": "user", "content": "short"}]


def test_a_message_that_is_too_long_is_refused_in_the_stream_too(client: Client, upstream: ScriptedUpstream) -> None:
    conversation = client.create_conversation(model_tag="streaming")
    upstream.script(model_with(10, in_stream=True))
    assert_failed(client, conversation, client.send(conversation, "a long message"), code="context_too_long", text="")


def test_a_context_that_fills_up_while_the_model_writes_keeps_the_text(client: Client, upstream: ScriptedUpstream) -> None:
    conversation = client.create_conversation(model_tag="filling")
    converse(client, conversation, upstream, 2)
    upstream.script(tokens("half"), event('{"error": {"message": "Context size has been exceeded."}}'), when="go on")
    stream = client.send(conversation, "go on")
    stream.finish()
    assert (stream.text, len(upstream.generations("go on"))) == ("half", 1)
    message = client.message(conversation, stream.message_id)
    assert (message["content"], message["status"], message["error_code"]) == ("half", "failed", "upstream_error")
