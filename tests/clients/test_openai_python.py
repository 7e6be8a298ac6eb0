"""The official `openai` package for Python, unchanged, against the real server."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import openai
import psycopg
import pytest
from openai import OpenAI
from openai.types.conversations import Conversation, ConversationItemList
from pydantic import TypeAdapter

from tests.clients.openai_cases import REASONING, SCRIPT, SETTINGS, TEXT, check_events, check_response, questions, said
from tests.conftest import StartServer
from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.cutting import CuttingRelay
from tests.support.server import Server
from tests.support.steps import Step, done, hold, respond, stall, thought, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(**SETTINGS) as server:
        yield server


@pytest.fixture(scope="module")
def other_node(new_server: StartServer) -> Iterator[Server]:
    with new_server(**SETTINGS) as server:
        yield server


@pytest.fixture
def api(service: Server, client: Client) -> Iterator[OpenAI]:
    """The package, as the same user as `client`."""
    with OpenAI(base_url=f"http://127.0.0.1:{service.port}/v1", api_key=client.token) as package:
        yield package


def at(api: OpenAI, port: int) -> OpenAI:
    return api.with_options(base_url=f"http://127.0.0.1:{port}/v1")


def dumped(stream: Any) -> list[dict[str, Any]]:
    """Return the events of a stream as they were sent."""
    return [event.to_dict() for event in stream]


def test_a_response(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(*SCRIPT)
    response = api.responses.create(model="tiny", input="good morning", metadata={"topic": "tea"}, temperature=0.5)
    assert check_response(response.to_dict()).output_text == TEXT
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output[0].content[0].text == REASONING
    assert (response.status, response.model, response.temperature) == ("completed", "tiny", 0.5)
    assert (response.metadata, response.error, response.incomplete_details) == ({"topic": "tea"}, None, None)
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (7, 5, 12)
    assert response._request_id
    assert api.responses.retrieve(response.id).to_dict() == response.to_dict()
    [call] = upstream.generations()
    assert (call.body["temperature"], call.body["model"]) == (0.5, "tiny")


def test_a_stream(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(*SCRIPT)
    events = dumped(api.responses.create(input="good morning", stream=True))
    check_events(events)
    assert said(events) == (REASONING, TEXT)
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")
    final = check_response(events[-1]["response"])
    assert (final.output_text, final.id) == (TEXT, events[0]["response"]["id"])
    assert api.responses.retrieve(final.id).to_dict() == final.to_dict()


def test_the_helper_that_collects_a_stream(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(*SCRIPT)
    with api.responses.stream(model="tiny", input="good morning") as stream:
        assert stream.get_final_response().output_text == TEXT


def test_a_stream_continues_behind_every_event_on_every_node(
    api: OpenAI, other_node: Server, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(thought("one "), thought("two "), tokens("three "), hold(gate), tokens("four"), done())
    begun = []
    for event in api.responses.create(input="count", stream=True, background=True):
        begun.append(event.to_dict())
        if event.type == "response.output_text.delta":
            break
    response_id = begun[0]["response"]["id"]
    assert api.responses.retrieve(response_id).status == "in_progress"
    elsewhere = at(api, other_node.port).responses
    with ThreadPoolExecutor(2 * len(begun)) as readers:
        rests = [
            [
                readers.submit(lambda node, n: dumped(node.retrieve(response_id, stream=True, starting_after=n)), node, number)
                for node in (api.responses, elsewhere)
            ]
            for number in (event["sequence_number"] for event in begun)
        ]
        gate.open()
    for place, futures in enumerate(rests):
        for future in futures:
            whole = begun[: place + 1] + future.result()
            check_events(whole)
            assert said(whole) == ("one two ", "three four")
            assert check_response(whole[-1]["response"]).status == "completed"
    stored = dumped(elsewhere.retrieve(response_id, stream=True))
    check_events(stored)
    assert said(stored) == ("one two ", "three four")


def test_a_long_response_continues_near_its_end(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens(*["word " * 1000] * 5), done())
    events = dumped(api.responses.create(input="at length", stream=True))
    *_, last_delta = (place for place, event in enumerate(events) if event["type"] == "response.output_text.delta")
    number = events[last_delta - 1]["sequence_number"]
    assert number > 10**10
    rest = dumped(api.responses.retrieve(events[0]["response"]["id"], stream=True, starting_after=number))
    assert rest == events[last_delta:]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([thought("one t"), thought("wo"), tokens("thr", "ee fo", "ur ")], [tokens("fi", "ve, 六", "七")]),
        ([thought("one"), tokens("thr", "ee fo"), thought(" tw"), tokens("ur ")], [thought("o"), tokens("five, 六", "七")]),
        ([tokens("three fo"), thought("one t")], [tokens("ur "), thought("w"), tokens("five, 六七"), thought("o")]),
    ],
    ids=["reasoning first", "reasoning resumed", "text first"],
)
def test_the_helper_continues_behind_every_event_on_every_node(
    api: OpenAI, other_node: Server, upstream: ScriptedUpstream, before: list[Step], after: list[Step]
) -> None:
    """The helper reads the whole stream again and skips events by their numbers, so a replay must have the same events."""
    gate = upstream.gate()
    upstream.script(*before, hold(gate), *after, done())
    begun = api.responses.create(input="count", background=True)
    first = api.responses.retrieve(begun.id, stream=True)
    events = []
    for event in first:
        events.append(event.to_dict())
        if event.type == "response.output_text.delta":
            break
    # While it runs, the other node reads the row.
    elsewhere = at(api, other_node.port).responses.retrieve(begun.id, stream=True)
    gate.open()
    events += [event.to_dict() for event in first]
    assert said(events) == ("one two", "three four five, 六七")
    assert dumped(elsewhere) == events
    for node in (api.responses, at(api, other_node.port).responses):
        for place, event in enumerate(events):
            with node.stream(response_id=begun.id, starting_after=event["sequence_number"]) as stream:
                rest = [one.to_dict(warnings=False) for one in stream]
            assert [one["sequence_number"] for one in rest] == [one["sequence_number"] for one in events[place + 1 :]]
            assert said(events[: place + 1] + rest) == said(events)


def test_a_response_in_the_background(api: OpenAI, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(hold(gate), *SCRIPT)
    begun = api.responses.create(input="later", background=True)
    assert (check_response(begun.to_dict()).status, begun.background, begun.output) == ("in_progress", True, [])
    # Nobody follows it, and a second question does not stop it.
    with pytest.raises(openai.ConflictError) as refusal:
        api.responses.create(input="now", conversation=begun.conversation.id)
    assert (refusal.value.code, refusal.value.response.headers["x-should-retry"]) == ("generation_in_progress", "false")
    gate.open()
    events = dumped(api.responses.retrieve(begun.id, stream=True, starting_after=1))
    assert said(events) == (REASONING, TEXT)
    assert api.responses.retrieve(begun.id).status == "completed"


def test_cancelling(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("so far"), stall())
    begun = api.responses.create(input="long", background=True)
    upstream.wait_call("long")
    stream = api.responses.retrieve(begun.id, stream=True)
    events = []
    for event in stream:
        events.append(event.to_dict())
        if event.type == "response.output_text.delta":
            cancelled = api.responses.cancel(begun.id)
    assert (check_response(cancelled.to_dict()).status, cancelled.output_text) == ("cancelled", "so far")
    check_events(events)
    assert (events[-1]["type"], events[-1]["response"]["status"]) == ("response.incomplete", "cancelled")
    assert api.responses.cancel(begun.id).to_dict() == cancelled.to_dict()


def test_turns_follow_one_another(api: OpenAI, upstream: ScriptedUpstream) -> None:
    first = api.responses.create(input="one")
    second = api.responses.create(input="two", previous_response_id=first.id)
    assert (second.previous_response_id, second.conversation) == (first.id, first.conversation)
    assert [message["content"] for message in upstream.generations()[-1].body["messages"]] == ["one", "one", "two"]


def test_any_response_can_be_continued(api: OpenAI, client: Client, upstream: ScriptedUpstream) -> None:
    first = api.responses.create(input="one")
    second = api.responses.create(input="two", previous_response_id=first.id)
    other = api.responses.create(input="three", previous_response_id=first.id)
    assert other.conversation == first.conversation
    assert [message["content"] for message in upstream.generations()[-1].body["messages"]] == ["one", "one", "three"]
    api.responses.create(input="four", previous_response_id=second.id)
    sent = [message["content"] for message in upstream.generations()[-1].body["messages"]]
    assert sent == ["one", "one", "two", "two", "four"]
    messages = client.conversation(str(UUID(first.conversation.id.removeprefix("conv_"))))["messages"]
    shown = [(item["content"], item["version"], item["versions"]) for item in messages if item["role"] == "user"]
    assert shown == [("one", 1, 1), ("two", 1, 2), ("four", 1, 1)]


def test_a_conversation_and_its_items(api: OpenAI, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(*SCRIPT)
    conversation = api.conversations.create(metadata={"project": "tea"})
    Conversation.model_validate(conversation.to_dict())
    for question in ("one", "two"):
        api.responses.create(input=question, conversation=conversation.id)
    page = api.conversations.items.list(conversation.id, order="asc", limit=2)
    TypeAdapter(ConversationItemList).validate_python(
        {
            "data": [item.to_dict() for item in page.data],
            "object": "list",
            "first_id": page.data[0].id,
            "last_id": page.last_id,
            "has_more": page.has_more,
        }
    )
    items = list(page)
    kinds = [(item.type, getattr(item, "role", None)) for item in items]
    assert kinds == [("message", "user"), ("reasoning", None), ("message", "assistant")] * 2
    assert [item.content[0].text for item in items if item.type == "message"] == ["one", TEXT, "two", TEXT]
    newest_first = list(api.conversations.items.list(conversation.id, limit=1))
    assert [item.id for item in newest_first] == [item.id for item in reversed(items)]
    assert [found["id"] for found in client.get("/api/conversations")["items"]] != []
    assert api.conversations.update(conversation.id, metadata={"project": "coffee"}).metadata == {"project": "coffee"}
    assert api.conversations.retrieve(conversation.id).metadata == {"project": "coffee"}
    assert api.conversations.delete(conversation.id).deleted
    with pytest.raises(openai.NotFoundError):
        api.conversations.retrieve(conversation.id)


def test_a_history_that_the_client_brings(api: OpenAI, upstream: ScriptedUpstream) -> None:
    history: Any = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "My name is Alice."},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello Alice!"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "What is my "}, {"type": "input_text", "text": "name?"}]},
    ]
    response = api.responses.create(input=history)
    assert [message["content"] for message in upstream.generations()[-1].body["messages"]] == [
        "Be brief.\n\nMy name is Alice.",
        "Hello Alice!",
        "What is my name?",
    ]
    items = list(api.responses.input_items.list(response.id, order="asc"))
    assert [item.role for item in items] == ["system", "user", "assistant", "user"]
    later = api.responses.create(input="And now?", previous_response_id=response.id)
    assert [item.content[0].text for item in api.responses.input_items.list(later.id)] == ["And now?"]
    with pytest.raises(openai.BadRequestError) as refusal:
        api.responses.create(input=history * 6, conversation=later.conversation.id)
    assert refusal.value.param == "input"


def test_what_was_said_since_the_last_response_is_added(api: OpenAI, client: Client, upstream: ScriptedUpstream) -> None:
    first = api.responses.create(input="one")
    since: Any = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "My name is Alice."},
        {"role": "assistant", "content": "Hello Alice!"},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "What is my name?"},
    ]
    for place in ({"conversation": first.conversation.id}, {"previous_response_id": first.id}):
        response = api.responses.create(input=since, **place)
        assert response.conversation == first.conversation
        assert [(message["role"], message["content"]) for message in upstream.generations()[-1].body["messages"]][-4:] == [
            ("assistant", "one"),
            ("user", "Be brief.\n\nMy name is Alice."),
            ("assistant", "Hello Alice!"),
            ("user", "Be kind.\n\nWhat is my name?"),
        ]
        asked = api.responses.input_items.list(response.id, order="asc")
        assert [item.role for item in asked] == ["system", "user", "assistant", "system", "user"]
    # The second time, after the first response again.
    assert len(list(api.conversations.items.list(first.conversation.id))) == 2 + 6


def test_a_key_adds_messages_once(api: OpenAI, upstream: ScriptedUpstream) -> None:
    conversation = api.conversations.create().id
    said: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "keyed"}]
    once = {"extra_headers": {"Idempotency-Key": "one-key"}}
    assert len({api.responses.create(input=said, conversation=conversation, **once).id for _ in range(3)}) == 1
    assert len(list(api.conversations.items.list(conversation))) == 3
    assert len(upstream.generations()) == 1


def test_the_items_of_a_conversation(api: OpenAI, upstream: ScriptedUpstream) -> None:
    conversation = api.conversations.create(items=[{"role": "user", "content": "zero"}]).id
    items = api.conversations.items
    said: Any = [
        {"role": "user", "content": [{"type": "input_text", "text": "one"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "first", "annotations": []}]},
        {"type": "reasoning", "id": "rs_elsewhere", "summary": []},
        {"role": "user", "content": "two"},
    ]
    added = items.create(conversation, items=said, include=["reasoning.encrypted_content"])
    TypeAdapter(ConversationItemList).validate_python(added.to_dict())
    assert [item.content[0].text for item in added.data] == ["one", "first", "two"]
    listed = list(items.list(conversation, order="asc", include=["message.input_image.image_url"], limit=2))
    assert [item.id for item in listed][1:] == [item.id for item in added.data]
    assert items.retrieve(listed[2].id, conversation_id=conversation).to_dict() == listed[2].to_dict()
    assert items.delete(listed[2].id, conversation_id=conversation).id == conversation
    assert [item.id for item in items.list(conversation, limit=1)] == [listed[3].id, listed[1].id, listed[0].id]
    with pytest.raises(openai.NotFoundError):
        items.retrieve(listed[2].id, conversation_id=conversation)
    with pytest.raises(openai.NotFoundError):
        items.delete(listed[1].id, conversation_id=api.conversations.create().id)
    # The conversation goes on after them.
    upstream.script(*SCRIPT)
    response = api.responses.create(input="three", conversation=conversation)
    assert upstream.generations()[-1].body["messages"][-1]["content"] == "zero\n\none\n\ntwo\n\nthree"
    [reasoning] = [item for item in items.list(conversation) if item.type == "reasoning"]
    assert items.retrieve(reasoning.id, conversation_id=conversation).id == reasoning.id
    items.delete(reasoning.id, conversation_id=conversation)
    assert [item.type for item in api.responses.retrieve(response.id).output] == ["message"]


def test_items_are_added_once_by_a_request_that_the_package_repeats(api: OpenAI) -> None:
    conversation = api.conversations.create().id
    said: list[Any] = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    repeated = {"x-stainless-retry-count": "1"}
    first = api.conversations.items.create(conversation, items=said)
    again = api.conversations.items.create(conversation, items=said, extra_headers=repeated)
    assert [item.id for item in again.data] == [item.id for item in first.data]
    # The first try of this one was lost before it arrived.
    api.conversations.items.create(conversation, items=said[:1], extra_headers=repeated)
    # A request of its own.
    api.conversations.items.create(conversation, items=said[:1])
    texts = [item.to_dict()["content"][0]["text"] for item in api.conversations.items.list(conversation, order="asc")]
    assert texts == ["one", "two", "one", "one"]


def test_items_wait_for_the_end_of_a_response(api: OpenAI, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("so far"), stall())
    begun = api.responses.create(input="long", background=True)
    with pytest.raises(openai.ConflictError):
        api.conversations.items.create(begun.conversation.id, items=[{"role": "user", "content": "more"}])
    api.responses.cancel(begun.id)


def test_instructions_are_for_one_response(api: OpenAI, client: Client, upstream: ScriptedUpstream) -> None:
    first = api.responses.create(input="one", instructions="Speak like a pirate.")
    assert first.instructions == "Speak like a pirate."
    assert upstream.generations()[-1].body["messages"][0] == {"role": "system", "content": "Speak like a pirate."}
    second = api.responses.create(input="two", previous_response_id=first.id)
    assert second.instructions is None
    assert "pirate" not in str(upstream.generations()[-1].body)
    contexts = [client.message(first.conversation.id.removeprefix("conv_"), one.id[5:])["context"] for one in (first, second)]
    assert [context.get("instructions") for context in contexts] == [20, None]


def test_a_conversation_that_was_not_asked_for_is_in_no_list(api: OpenAI, client: Client) -> None:
    kept = api.responses.create(input="rhubarb pie")
    temporary = api.responses.create(input="rhubarb cake", store=False)
    assert (kept.store, temporary.store) == (True, False)
    assert client.get("/api/conversations")["items"] == []
    assert client.get("/api/search?q=rhubarb")["items"] == []
    assert questions(client, kept.conversation.id) == ["rhubarb pie"]
    api.responses.delete(kept.id)
    with pytest.raises(openai.NotFoundError):
        api.responses.retrieve(kept.id)
    # The conversation goes with its only response.
    with pytest.raises(openai.NotFoundError):
        api.conversations.retrieve(kept.conversation.id)


def test_deleting_an_answer_keeps_a_listed_conversation(api: OpenAI) -> None:
    conversation = api.conversations.create()
    response = api.responses.create(input="one", conversation=conversation.id)
    api.responses.delete(response.id)
    assert [item.role for item in api.conversations.items.list(conversation.id)] == ["user"]


def test_a_cut_connection_asks_once(api: OpenAI, service: Server, client: Client, upstream: ScriptedUpstream) -> None:
    """The package repeats the request by itself, without an Idempotency-Key."""
    first = api.responses.create(input="zero", conversation=api.conversations.create().id)
    last = first
    for name in ("none", "conversation", "previous_response_id"):
        place = {"conversation": first.conversation.id, "previous_response_id": last.id}
        gate = upstream.gate()
        upstream.script(tokens("only "), hold(gate), tokens("once"), done(), when=name)
        with CuttingRelay(service.port) as relay, ThreadPoolExecutor(1) as thread:
            asked = {name: place[name]} if name in place else {}
            call = thread.submit(at(api, relay.port).responses.create, input=name, **asked)
            upstream.wait_call(name)
            relay.cut_now()
            wait_until(lambda: relay.connections == 2, "the package repeats the request")
            gate.open()
            answer = call.result(60)
        assert (answer.status, answer.output_text) == ("completed", "only once")
        assert len(upstream.generations(name)) == 1
        assert questions(client, answer.conversation.id).count(name) == 1
        last = answer if asked else last


def is_followed(database_url: str, response_id: str) -> bool:
    """Return what the last checkpoint of a response's worker noted."""
    with psycopg.connect(database_url, autocommit=True) as database:
        noted = database.execute(
            "SELECT is_followed FROM messages WHERE id = %s", [response_id.removeprefix("resp_")]
        ).fetchone()
    return noted is not None and noted[0] is True


def test_a_repetition_of_a_stream_gets_it_from_its_beginning(
    api: OpenAI, upstream: ScriptedUpstream, database_url: str
) -> None:
    gate = upstream.gate()
    upstream.script(*SCRIPT[:-1], hold(gate), SCRIPT[-1])
    broken = api.responses.create(input="again", stream=True)
    first = [next(iter(broken)).to_dict()]
    # An earlier note may be of the moment before the first reader came.
    wait_until(lambda: is_followed(database_url, first[0]["response"]["id"]), "the reader is noted")
    broken.close()
    # Until the server has noticed, the end would count as delivered.
    wait_until(lambda: not is_followed(database_url, first[0]["response"]["id"]), "the reader is gone")
    gate.open()
    repeated = dumped(api.responses.create(input="again", stream=True, extra_headers={"x-stainless-retry-count": "1"}))
    # The model that answers may be known only at the end.
    assert {**repeated[0]["response"], "model": ""} == {**first[0]["response"], "model": ""}
    assert said(repeated) == (REASONING, TEXT)
    # Its answer was delivered whole. A repetition now belongs to another request, which never arrived.
    other = api.responses.create(input="again", extra_headers={"x-stainless-retry-count": "1"})
    assert other.id != repeated[-1]["response"]["id"]
    # Asked anew, the same question is another one.
    assert api.responses.create(input="again").id not in (other.id, repeated[-1]["response"]["id"])
    assert len(upstream.generations()) == 3


def test_a_key_makes_one_response(api: OpenAI, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("once"), hold(gate), done())
    once = {"extra_headers": {"Idempotency-Key": "a-key-of-the-client"}}
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(api.responses.create, input="keyed", **once) for _ in range(8)]
        upstream.wait_call("keyed")
        gate.open()
        responses = [call.result(60) for call in calls]
    assert len({response.id for response in responses}) == 1
    assert {response.output_text for response in responses} == {"once"}
    assert len(upstream.generations()) == 1
    with pytest.raises(openai.UnprocessableEntityError) as refusal:
        api.responses.create(input="another", **once)
    assert refusal.value.code == "idempotency_mismatch"


def test_the_pages_of_items_are_full(api: OpenAI, upstream: ScriptedUpstream) -> None:
    conversation = api.conversations.create()
    upstream.script(respond("503 Service Unavailable"), when="empty")
    for _ in range(3):
        with pytest.raises(openai.APIStatusError):
            api.with_options(max_retries=0).responses.create(input="empty", conversation=conversation.id)
    upstream.script(tokens("said"), done(), when="last")
    api.responses.create(input="last", conversation=conversation.id)
    for order in ("asc", "desc"):
        listed = list(api.conversations.items.list(conversation.id, limit=1, order=order))
        assert len(listed) == 5


def test_a_failure_of_the_model_is_not_repeated(api: OpenAI, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(respond("500 Internal Server Error", b'{"error": {}}'))
    conversation = api.conversations.create()
    with pytest.raises(openai.InternalServerError) as refusal:
        api.responses.create(input="fail", conversation=conversation.id)
    assert (refusal.value.status_code, refusal.value.code, refusal.value.type) == (502, "upstream_error", "server_error")
    assert len(upstream.generations()) == 1
    assert questions(client, conversation.id) == ["fail"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_in_the_middle_keeps_the_text(stream: bool, api: OpenAI, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("half"), hold(gate))
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(lambda: api.responses.create(input="break", stream=stream))
        upstream.wait_call("break")
        gate.open()
        answer = call.result(60)
    response = check_response(dumped(answer)[-1]["response"] if stream else answer.to_dict())
    assert (response.status, response.output_text, response.error.code) == ("failed", "half", "server_error")
    assert response.output[0].status == "incomplete"


def test_models(api: OpenAI) -> None:
    listed = list(api.models.list())
    assert [(model.id, model.object) for model in listed] == [("tiny", "model"), ("large", "model")]
    assert [api.models.retrieve(model.id) for model in listed] == listed


@pytest.mark.parametrize(
    ("call", "kind", "code", "param"),
    [
        (lambda api: api.responses.retrieve("resp_nothing"), openai.NotFoundError, "not_found", None),
        (lambda api: api.conversations.retrieve("conv_0"), openai.NotFoundError, "not_found", None),
        (lambda api: api.models.retrieve("gone"), openai.NotFoundError, "not_found", None),
        (lambda api: api.models.retrieve("an/owner's model"), openai.NotFoundError, "not_found", None),
        (lambda api: api.responses.create(input="x", conversation="conv_0"), openai.NotFoundError, "not_found", None),
        (lambda api: api.responses.create(input=" "), openai.BadRequestError, "invalid", "input"),
        (lambda api: api.responses.create(input="x", model="gone"), openai.BadRequestError, "invalid", "model"),
        (
            lambda api: api.responses.create(input="x", tools=[{"type": "web_search"}]),
            openai.BadRequestError,
            "invalid",
            "tools",
        ),
        (lambda api: api.responses.create(input="x", metadata={"a": "\0"}), openai.BadRequestError, "invalid", "metadata"),
        (lambda api: api.responses.create(input="x" * 10_000_000), openai.APIStatusError, "payload_too_large", None),
        (lambda api: api.post("/nowhere", cast_to=object, body={}), openai.NotFoundError, "not_found", None),
        (lambda api: api.with_options(api_key="wrong").models.list(), openai.AuthenticationError, "invalid_token", None),
        (
            lambda api: api.with_options(api_key=make_token()).responses.retrieve(api.responses.create(input="x").id),
            openai.NotFoundError,
            "not_found",
            None,
        ),
    ],
)
def test_errors(call: Any, kind: type[openai.APIStatusError], code: str, param: str | None, api: OpenAI) -> None:
    with pytest.raises(kind) as refusal:
        call(api)
    error = refusal.value
    assert (error.code, error.param, bool(error.type)) == (code, param, True)
    assert set(error.body) == {"message", "type", "param", "code"}


def test_a_body_that_is_no_json_is_an_error_in_the_same_form(client: Client) -> None:
    answer = client.request("POST", "/v1/responses", ["not an object"])
    assert (answer.status, set(answer.json["error"])) == (400, {"message", "type", "param", "code"})
