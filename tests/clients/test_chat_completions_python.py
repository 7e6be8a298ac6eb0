"""The official `openai` package for Python with chat completions, unchanged, against the real server."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.clients.completion_cases import check_completion, rows_of, said_in
from tests.clients.openai_cases import REASONING, SCRIPT, SETTINGS, TEXT
from tests.conftest import StartServer
from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.cutting import CuttingRelay
from tests.support.server import Server
from tests.support.steps import done, event, hold, respond, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

Message = dict[str, Any]


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(**SETTINGS) as server:
        yield server


@pytest.fixture
def api(service: Server, client: Client) -> Iterator[OpenAI]:
    """The package, as the same user as `client`."""
    with OpenAI(base_url=f"http://127.0.0.1:{service.port}/v1", api_key=client.token) as package:
        yield package


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def ask(api: OpenAI, *messages: Message, **more: Any) -> tuple[str, str]:
    """Return the answer, and the conversation that the turn was added to."""
    raw = api.chat.completions.with_raw_response.create(model="tiny", messages=messages, **more)
    return raw.parse().choices[0].message.content or "", raw.headers["x-conversation-id"]


def test_an_answer(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(*SCRIPT)
    answer = api.chat.completions.create(
        model="tiny", messages=[user("good morning")], temperature=0.5, max_completion_tokens=64, n=1, user="someone"
    )
    completion = check_completion(answer.to_dict())
    [choice] = completion.choices
    assert (choice.message.content, choice.finish_reason, completion.model) == (TEXT, "stop", "tiny")
    assert answer.choices[0].message.reasoning_content == REASONING  # type: ignore[attr-defined]
    assert completion.usage
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens, completion.usage.total_tokens) == (7, 5, 12)
    [call] = upstream.generations()
    assert (call.body["temperature"], call.body["max_tokens"], call.body["model"]) == (0.5, 64, "tiny")


@pytest.mark.parametrize("with_usage", [False, True])
def test_a_stream(with_usage: bool, api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(*SCRIPT)
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if with_usage else {}
    stream = api.chat.completions.create(model="tiny", messages=[user("good morning")], stream=True, **options)
    chunks = [chunk.to_dict() for chunk in stream]
    assert said_in(chunks) == (REASONING, TEXT, ["stop"])
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert len({chunk["id"] for chunk in chunks}) == 1
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    assert [chunk["usage"] for chunk in chunks if chunk.get("usage")] == ([usage] if with_usage else [])
    assert (chunks[-1]["choices"] == []) is with_usage


def test_the_helper_that_collects_a_stream(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(*SCRIPT)
    with api.chat.completions.stream(model="tiny", messages=[user("good morning")]) as stream:
        assert stream.get_final_completion().choices[0].message.content == TEXT


def test_the_length_ends_an_answer(api: OpenAI, upstream: ScriptedUpstream) -> None:
    ended = '{"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}'
    upstream.script(tokens("too "), event(ended), event("[DONE]"))
    answer = api.chat.completions.create(model="tiny", messages=[user("long")])
    assert answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize("prompt", [[], [{"role": "system", "content": "Be brief."}]])
def test_a_chat_is_one_conversation(prompt: list[Message], api: OpenAI, client: Client, upstream: ScriptedUpstream) -> None:
    said: list[Message] = []
    places = set()
    for number in range(4):
        said.append(user(f"question {number}"))
        upstream.script(tokens(f" answer {number}\n"), done(), when=f"question {number}")
        answer, place = ask(api, *prompt, *said)
        # Clients trim.
        said.append(assistant(answer.strip()))
        places.add(place)
    [place] = places
    assert rows_of(client, place) == [
        (role, content.format(number))
        for number in range(4)
        for role, content in (("user", "question {}"), ("assistant", " answer {}\n"))
    ]
    sent = upstream.generations()[-1].body["messages"]
    assert [message["role"] for message in sent] == [one["role"] for one in prompt] + ["user", "assistant"] * 3 + ["user"]
    assert client.get("/api/conversations")["items"] == []


def test_a_history_of_ones_own_begins_a_conversation(api: OpenAI, client: Client, upstream: ScriptedUpstream) -> None:
    history = [user("My name is Alice."), assistant("Hello Alice!"), user("What is my name?")]
    answer, place = ask(api, {"role": "developer", "content": "Be brief."}, *history)
    assert [(one["role"], one["content"]) for one in upstream.generations()[-1].body["messages"]] == [
        ("system", "Be brief."),
        ("user", "My name is Alice."),
        ("assistant", "Hello Alice!"),
        ("user", "What is my name?"),
    ]
    assert rows_of(client, place) == [*((one["role"], one["content"]) for one in history), ("assistant", answer)]
    # From then on, it is known.
    _, again = ask(api, *history, assistant(answer), user("And now?"))
    assert again == place
    assert len(rows_of(client, place)) == 6


def test_what_was_said_since_the_last_answer_is_added(api: OpenAI, client: Client) -> None:
    answer, place = ask(api, user("one"))
    since = [user("two"), {"role": "system", "content": "Be kind."}]
    _, again = ask(api, user("one"), assistant(answer), *since, user("three"))
    assert again == place
    roles = [role for role, _ in rows_of(client, place)]
    assert roles == ["user", "assistant", "user", "system", "user", "assistant"]


def test_another_question_after_the_same_history_is_a_version(api: OpenAI, client: Client, upstream: ScriptedUpstream) -> None:
    answer, place = ask(api, user("one"))
    second, _ = ask(api, user("one"), assistant(answer), user("two"))
    ask(api, user("one"), assistant(answer), user("two"), assistant(second), user("three"))
    assert ask(api, user("one"), assistant(answer), user("instead"))[1] == place
    assert [content for role, content in rows_of(client, place) if role == "user"] == ["one", "two", "three", "instead"]
    assert [message["content"] for message in upstream.generations()[-1].body["messages"]] == ["one", answer, "instead"]
    # And back to the branch that was left.
    assert ask(api, user("one"), assistant(answer), user("two"), assistant(second), user("four"))[1] == place
    assert [message["content"] for message in upstream.generations()[-1].body["messages"]][2::2] == ["two", "four"]
    # What was never said here matches nothing.
    assert ask(api, user("one"), assistant("something else"), user("three"))[1] != place


def test_a_question_that_failed_is_asked_again_in_its_conversation(
    api: OpenAI, client: Client, upstream: ScriptedUpstream
) -> None:
    answer, place = ask(api, user("one"))
    upstream.script(respond("500 Internal Server Error", b"{}"), when="two")
    with pytest.raises(openai.InternalServerError):
        ask(api, user("one"), assistant(answer), user("two"))
    upstream.script(tokens("done"), done(), when="two")
    assert ask(api, user("one"), assistant(answer), user("two")) == ("done", place)
    assert [message["content"] for message in upstream.generations()[-1].body["messages"]] == ["one", answer, "two"]


def test_simultaneous_questions_after_one_history_do_not_refuse_each_other(api: OpenAI, upstream: ScriptedUpstream) -> None:
    answer, _ = ask(api, user("one"))
    gate = upstream.gate()
    for number in range(4):
        upstream.script(hold(gate), tokens("done"), done(), when=f"at once {number}")
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(ask, api, user("one"), assistant(answer), user(f"at once {number}")) for number in range(4)]
        for number in range(4):
            upstream.wait_call(f"at once {number}")
        gate.open()
        assert [call.result(60)[0] for call in calls] == ["done"] * 4


def test_no_other_user_s_conversation_is_found(api: OpenAI, service: Server) -> None:
    answer, place = ask(api, user("the same"))
    with OpenAI(base_url=f"http://127.0.0.1:{service.port}/v1", api_key=make_token()) as other:
        _, found = ask(other, user("the same"), assistant(answer), user("and?"))
    assert found != place


def test_a_named_conversation_goes_on_at_its_end(api: OpenAI, client: Client) -> None:
    conversation = api.conversations.create().id
    named = {"extra_headers": {"X-Conversation-Id": conversation}}
    _, place = ask(api, user("one"), **named)
    assert f"conv_{place.replace('-', '')}" == conversation
    ask(api, user("never said"), assistant("nor this"), user("two"), **named)
    assert [content for role, content in rows_of(client, place) if role == "user"] == ["one", "two"]
    with pytest.raises(openai.NotFoundError):
        ask(api, user("three"), extra_headers={"X-Conversation-Id": "conv_0"})


def test_a_temporary_conversation_goes_on_as_one(api: OpenAI) -> None:
    answer, place = ask(api, user("one"), store=False)
    assert ask(api, user("one"), assistant(answer), user("two"), store=False)[1] == place
    # A turn that is to be kept is not added to it.
    assert ask(api, user("one"), assistant(answer), user("three"))[1] != place


def test_whole_histories_of_responses_go_on_too(api: OpenAI, client: Client) -> None:
    said: list[Any] = []
    places = set()
    for number in range(12):
        said.append(user(f"question {number}"))
        response = api.responses.create(input=said)
        said.append(assistant(response.output_text))
        places.add(response.conversation.id if response.conversation else "")
    [place] = places
    assert len(rows_of(client, place.removeprefix("conv_"))) == 24
    # And from one to the other.
    assert ask(api, *said, user("last"))[1].replace("-", "") == place.removeprefix("conv_")


def test_a_cut_connection_asks_once_and_keeps_the_answer(
    api: OpenAI, service: Server, client: Client, upstream: ScriptedUpstream
) -> None:
    """The package repeats the request by itself, without an Idempotency-Key."""
    first, _ = ask(api, user("zero"))
    for name, before in (("new", []), ("known", [user("zero"), assistant(first)])):
        gate = upstream.gate()
        upstream.script(tokens("only "), hold(gate), tokens("once"), done(), when=name)
        with CuttingRelay(service.port) as relay, ThreadPoolExecutor(1) as thread:
            through = api.with_options(base_url=f"http://127.0.0.1:{relay.port}/v1")
            call = thread.submit(ask, through, *before, user(name))
            upstream.wait_call(name)
            relay.cut_now()
            wait_until(lambda relay=relay: relay.connections == 2, "the package repeats the request")
            gate.open()
            answer, place = call.result(60)
        assert answer == "only once"
        assert len(upstream.generations(name)) == 1
        assert rows_of(client, place)[-2:] == [("user", name), ("assistant", "only once")]


def test_a_key_asks_once(api: OpenAI, upstream: ScriptedUpstream) -> None:
    answer, _ = ask(api, user("before"))
    for before in ([], [user("before"), assistant(answer)]):
        once = {"extra_headers": {"Idempotency-Key": f"a-key-{len(before)}"}}
        told = {ask(api, *before, user("keyed"), **once) for _ in range(3)}
        assert len(told) == 1
        with pytest.raises(openai.UnprocessableEntityError) as refusal:
            ask(api, *before, user("another"), **once)
        assert refusal.value.code == "idempotency_mismatch"
    assert len(upstream.generations("keyed")) == 2


def test_a_refused_question_is_an_error_and_is_not_repeated(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(respond("500 Internal Server Error", b'{"error": {}}'))
    with pytest.raises(openai.InternalServerError) as refusal:
        ask(api, user("fail"))
    assert (refusal.value.status_code, refusal.value.code, refusal.value.type) == (502, "upstream_error", "server_error")
    assert len(upstream.generations()) == 1


def test_a_failure_in_the_middle_is_an_error(api: OpenAI, upstream: ScriptedUpstream) -> None:
    for stream in (False, True):
        gate = upstream.gate()
        name = f"break {stream}"
        upstream.script(tokens("half"), hold(gate), when=name)
        with ThreadPoolExecutor(1) as thread:
            asked: Any = {"model": "tiny", "messages": [user(name)], "stream": stream}
            call = thread.submit(lambda asked=asked: list(api.chat.completions.create(**asked)))
            upstream.wait_call(name)
            gate.open()
            with pytest.raises(openai.APIError) as failure:
                call.result(60)
        assert failure.value.code == "upstream_error"
        assert len(upstream.generations(name)) == 1


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [assistant("hello")]}, "messages"),
        ({"messages": [user(" ")]}, "messages"),
        ({"messages": [{"role": "tool", "content": "4"}, user("x")]}, "messages"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}, user("x")]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"messages": [user("x\0")]}, "messages"),
        ({"n": 2}, "n"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools"),
        ({"logprobs": True}, "logprobs"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"model": "gone"}, "model"),
        ({"audio": {"voice": "alloy", "format": "wav"}, "modalities": ["text", "audio"]}, "audio"),
        ({"stream_options": {"include_usage": 1}, "stream": True}, "stream_options"),
    ],
)
def test_what_is_not_supported_is_refused(asked: dict[str, Any], param: str, api: OpenAI, upstream: ScriptedUpstream) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        api.chat.completions.create(**{"model": "tiny", "messages": [user("x")], **asked})
    assert (refusal.value.type, refusal.value.code) == ("invalid_request_error", "invalid")
    assert refusal.value.param in (param, "modalities")
    assert upstream.generations() == []
