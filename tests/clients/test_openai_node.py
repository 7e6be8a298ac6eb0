"""The official `openai` package for Node, unchanged, against the real server."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.conftest import StartScript
from tests.clients.node import NodeScript
from tests.clients.openai_cases import REASONING, SCRIPT, SETTINGS, TEXT, check_events, check_response, questions, said
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.cutting import CuttingRelay
from tests.support.server import Server
from tests.support.steps import done, hold, respond, stall, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(**SETTINGS) as server:
        yield server


@pytest.fixture
def api(start_script: StartScript, service: Server, client: Client) -> NodeScript:
    """The package, as the same user as `client`."""
    script = start_script("openai.mjs")
    connect(script, client, service.port)
    return script


def connect(script: NodeScript, client: Client, port: int) -> None:
    assert script.ask(do="connect", baseURL=f"http://127.0.0.1:{port}/v1", apiKey=client.token) is None


def call(api: NodeScript, path: str, *args: Any) -> Any:
    return api.ask(do="call", path=path, args=args)


def collect(api: NodeScript, path: str, *args: Any, until: str | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.ask(do="all", path=path, args=args, until=until)
    return found


def test_a_response_and_its_stream(api: NodeScript, upstream: ScriptedUpstream) -> None:
    upstream.script(*SCRIPT)
    body = call(api, "responses.create", {"model": "tiny", "input": "good morning"})
    assert (body["status"], body["output_text"]) == ("completed", TEXT)
    events = collect(api, "responses.create", {"input": "good morning", "stream": True})
    check_events(events)
    assert said(events) == (REASONING, TEXT)
    assert check_response(events[-1]["response"]).output_text == TEXT
    assert api.ask(do="final", args=[{"model": "tiny", "input": "good morning"}])["output_text"] == TEXT


def test_a_client_that_left_continues(api: NodeScript, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("one "), hold(gate), tokens("two"), done())
    asked = {"input": "count", "stream": True, "background": True}
    begun = collect(api, "responses.create", asked, until="response.output_text.delta")
    response_id = begun[0]["response"]["id"]
    assert call(api, "responses.retrieve", response_id)["status"] == "in_progress"
    gate.open()
    after = {"stream": True, "starting_after": begun[-1]["sequence_number"]}
    whole = begun + collect(api, "responses.retrieve", response_id, after)
    check_events(whole)
    assert said(whole) == ("", "one two")
    # The helper reads the whole stream again and skips events by their numbers.
    for place, event in enumerate(whole):
        asked = {"response_id": response_id, "starting_after": event["sequence_number"]}
        rest = collect(api, "responses.stream", asked)
        assert said(whole[: place + 1] + rest) == said(whole)


def test_cancelling(api: NodeScript, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("so far"), stall())
    begun = collect(
        api, "responses.create", {"input": "long", "stream": True, "background": True}, until="response.output_text.delta"
    )
    cancelled = call(api, "responses.cancel", begun[0]["response"]["id"])
    assert (cancelled["status"], cancelled["output"][0]["content"][0]["text"]) == ("cancelled", "so far")


def test_a_conversation_and_its_items(api: NodeScript, upstream: ScriptedUpstream) -> None:
    conversation = call(api, "conversations.create", {"metadata": {"project": "tea"}})
    first = call(api, "responses.create", {"input": "one", "conversation": conversation["id"]})
    call(api, "responses.create", {"input": "two", "previous_response_id": first["id"]})
    items = collect(api, "conversations.items.list", conversation["id"], {"order": "asc", "limit": 1})
    assert [(item["role"], item["content"][0]["text"]) for item in items] == [
        ("user", "one"),
        ("assistant", "one"),
        ("user", "two"),
        ("assistant", "two"),
    ]
    call(api, "responses.create", {"input": "three", "previous_response_id": first["id"]})
    assert [message["content"] for message in upstream.generations()[-1].body["messages"]] == ["one", "one", "three"]


def test_a_cut_connection_asks_once(api: NodeScript, service: Server, client: Client, upstream: ScriptedUpstream) -> None:
    """The package repeats the request by itself, without an Idempotency-Key."""
    gate = upstream.gate()
    upstream.script(tokens("only "), hold(gate), tokens("once"), done())
    with CuttingRelay(service.port) as relay:
        connect(api, client, relay.port)
        api.tell(do="call", path="responses.create", args=[{"input": "question"}])
        upstream.wait_call("question")
        relay.cut_now()
        wait_until(lambda: relay.connections == 2, "the package repeats the request")
        gate.open()
        answer = api.answer()
    assert (answer["status"], answer["output_text"]) == ("completed", "only once")
    assert questions(client, answer["conversation"]["id"]) == ["question"]
    assert len(upstream.generations()) == 1


def test_models_and_errors(api: NodeScript, upstream: ScriptedUpstream) -> None:
    assert [model["id"] for model in collect(api, "models.list")] == ["tiny", "large"]
    assert call(api, "models.retrieve", "large")["id"] == "large"
    missing = call(api, "responses.retrieve", "resp_nothing")
    assert missing == {
        "error": "NotFoundError",
        "status": 404,
        "code": "not_found",
        "type": "invalid_request_error",
        "param": None,
    }
    assert call(api, "responses.create", {"input": ""})["param"] == "input"
    upstream.script(respond("500 Internal Server Error", b"{}"))
    failure = call(api, "responses.create", {"input": "fail"})
    assert (failure["error"], failure["code"]) == ("InternalServerError", "upstream_error")
    assert len(upstream.generations()) == 1
