"""A reply that broke off goes on in the same row, behind what everybody has read of it."""

from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.support.auth import make_token
from tests.support.client import Client, Stream
from tests.support.server import Server
from tests.support.steps import Step, die, done, event, hold, respond, thought, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

BEGUN = ["One", " 👩‍👩‍👧", " two"]
TEXT = "".join(BEGUN)
ENDED_BY_LENGTH = event('{"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}')


@pytest.fixture(scope="module")
def other_node(new_server: StartServer) -> Iterator[Server]:
    with new_server() as server:
        yield server


@pytest.fixture(scope="module")
def openai_client(new_server: StartServer) -> Iterator[Client]:
    settings = {"INFERENCE_PROTOCOL": "openai", "INFERENCE_MODEL": "tiny", "INFERENCE_PREFILL": "tin*"}
    with new_server(**settings) as server:
        user = Client(server.port, make_token())
        yield user
        user.close()


def stopped_reply(client: Client, conversation: str, upstream: ScriptedUpstream) -> str:
    """Send a question, and stop its reply after the beginning."""
    upstream.script(tokens(*BEGUN), hold(upstream.gate()), when="count")
    stream = client.send(conversation, "count")
    stream.read_until(BEGUN[-1])
    assert client.stop(conversation).json["status"] == "stopped"
    return stream.message_id


def go_on(client: Client, conversation: str, reply_id: str, headers: dict[str, str] | None = None) -> Stream:
    return client.open("POST", f"/api/conversations/{conversation}/messages/{reply_id}/continue", {}, headers)


def test_a_stopped_reply_goes_on_in_the_same_row(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    reply_id = stopped_reply(client, conversation, upstream)
    before = client.message(conversation, reply_id)
    gate = upstream.gate()
    upstream.script(tokens(" three", " four"), hold(gate), done())
    stream = go_on(client, conversation, reply_id)
    stream.read_until(" four")
    running = client.message(conversation, reply_id)
    assert (stream.message_id, running["status"]) == (reply_id, "streaming")
    assert running["content"].startswith(TEXT)
    gate.open()
    end = stream.finish()
    assert (stream.text, stream.last_event_id) == (" three four", len(TEXT + " three four"))
    after = client.message(conversation, reply_id)
    assert (after["content"], after["status"], after["id"]) == (TEXT + " three four", "complete", before["id"])
    assert (after["token_count"], end["token_count"]) == (before["token_count"] + 2, before["token_count"] + 2)
    assert after["inference_time_ms"] == end["inference_time_ms"] >= before["inference_time_ms"]
    assert [item["id"] for item in client.messages(conversation)][1:] == [reply_id]


def test_the_model_gets_the_text_and_an_instruction(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    reply_id = stopped_reply(client, conversation, upstream)
    upstream.script(tokens(" three"), done())
    go_on(client, conversation, reply_id).finish()
    asked, begun, instruction = upstream.generations()[-1].messages
    assert asked == {"role": "user", "content": "count"}
    assert begun == {"role": "assistant", "content": TEXT}
    assert (instruction["role"], "Continue it exactly where it ends" in instruction["content"]) == ("user", True)


def test_a_server_that_takes_it_gets_the_text_as_the_beginning_of_its_answer(
    openai_client: Client, upstream: ScriptedUpstream
) -> None:
    conversation = openai_client.create_conversation()
    reply_id = stopped_reply(openai_client, conversation, upstream)
    upstream.script(tokens(" three"), done(usage={"prompt_tokens": 7, "completion_tokens": 1}))
    go_on(openai_client, conversation, reply_id).finish()
    body = upstream.generations()[-1].body
    assert body["messages"][-2:] == [{"role": "user", "content": "count"}, {"role": "assistant", "content": TEXT}]
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


def test_a_reply_that_used_up_its_tokens_goes_on(openai_client: Client, upstream: ScriptedUpstream) -> None:
    conversation = openai_client.create_conversation()
    upstream.script(thought("Hm."), tokens(TEXT), ENDED_BY_LENGTH, event("[DONE]"), when="count")
    reply_id = openai_client.ask(conversation, "count").message_id
    assert openai_client.message(conversation, reply_id)["finish_reason"] == "length"
    upstream.script(thought(" So."), tokens(" three"), done(), when="")
    stream = go_on(openai_client, conversation, reply_id)
    assert stream.finish()["finish_reason"] == "stop"
    assert (stream.text, stream.reasoning, stream.last_cursor) == (" three", " So.", f"{len(TEXT + ' three')}-7")
    reply = openai_client.message(conversation, reply_id)
    assert (reply["content"], reply["reasoning"], reply["finish_reason"]) == (TEXT + " three", "Hm. So.", "stop")


@pytest.mark.parametrize("is_elsewhere", [False, True], ids=["here", "at another node"])
@pytest.mark.parametrize("place", [0, 1, 4, len(TEXT), len(TEXT) + 3])
def test_whoever_has_read_a_part_gets_the_exact_rest(
    client: Client, conversation: str, upstream: ScriptedUpstream, other_node: Server, place: int, *, is_elsewhere: bool
) -> None:
    reply_id = stopped_reply(client, conversation, upstream)
    gate = upstream.gate()
    upstream.script(tokens(" three"), hold(gate), tokens(" four"), done())
    go_on(client, conversation, reply_id).read_until(" three")
    reader = client.at(other_node.port) if is_elsewhere else client
    stream = reader.follow(conversation, reply_id, last_event_id=place)
    gate.open()
    assert stream.finish()["status"] == "complete"
    assert stream.text == (TEXT + " three four")[place:]


def test_a_continuation_begun_at_another_node_keeps_what_was_there(
    client: Client, conversation: str, upstream: ScriptedUpstream, other_node: Server
) -> None:
    reply_id = stopped_reply(client, conversation, upstream)
    upstream.script(tokens(" three"), done())
    elsewhere = client.at(other_node.port)
    assert go_on(elsewhere, conversation, reply_id).finish()["status"] == "complete"
    assert client.message(conversation, reply_id)["content"] == TEXT + " three"


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ((respond("503 Service Unavailable"),), ""),
        ((respond("500 Internal Server Error"),), ""),
        ((die(),), ""),
        ((tokens(" thr"), die()), " thr"),
    ],
    ids=["503", "500", "dies at once", "dies in the middle"],
)
def test_a_continuation_that_fails_leaves_what_was_there(
    client: Client, conversation: str, upstream: ScriptedUpstream, failure: tuple[Step, ...], said: str
) -> None:
    reply_id = stopped_reply(client, conversation, upstream)
    before = client.message(conversation, reply_id)
    upstream.script(*failure)
    stream = go_on(client, conversation, reply_id)
    if stream.status == 200:
        assert stream.finish()["status"] == "stopped"
        assert "error" in stream.objects[-2]
    else:
        assert (stream.status in (502, 503), stream.json["message_id"]) == (True, reply_id)
    after = client.message(conversation, reply_id)
    # What was shown is kept behind it, because its readers' cursors are there.
    assert after["content"] == TEXT + said
    assert {name: after[name] for name in ("status", "error_code", "finish_reason", "is_active")} == {
        name: before[name] for name in ("status", "error_code", "finish_reason", "is_active")
    }
    if not said:
        assert after == before
    upstream.script(tokens(" again"), done())
    assert go_on(client, conversation, reply_id).finish()["status"] == "complete"
    assert client.message(conversation, reply_id)["content"] == TEXT + said + " again"


def test_a_failed_reply_goes_on_and_keeps_its_error_if_that_fails(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens(*BEGUN), die(), when="count")
    reply_id = client.ask(conversation, "count").message_id
    before = client.message(conversation, reply_id)
    assert before["status"] == "failed"
    upstream.script(respond("500 Internal Server Error"))
    go_on(client, conversation, reply_id)
    wait_until(lambda: client.message(conversation, reply_id) == before, "the reply is as it was")
    upstream.script(tokens(" three"), done())
    go_on(client, conversation, reply_id).finish()
    after = client.message(conversation, reply_id)
    assert (after["content"], after["status"], after["error_code"]) == (TEXT + " three", "complete", None)


def test_a_stop_keeps_both_parts(client: Client, conversation: str, upstream: ScriptedUpstream, other_node: Server) -> None:
    reply_id = stopped_reply(client, conversation, upstream)
    for port, text in ((client.port, " three"), (other_node.port, " four")):
        upstream.script(tokens(text), hold(upstream.gate()))
        go_on(client, conversation, reply_id).read_until(text)
        stopped = client.at(port).stop(conversation)
        assert (stopped.json["id"], stopped.json["status"]) == (reply_id, "stopped")
    assert client.message(conversation, reply_id)["content"] == TEXT + " three four"


def test_a_repeated_request_with_the_same_key_follows_the_continuation(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    reply_id = stopped_reply(client, conversation, upstream)
    gate = upstream.gate()
    upstream.script(tokens(" three"), hold(gate), done())
    key = {"Idempotency-Key": "go-on"}
    first = go_on(client, conversation, reply_id, key)
    first.read_until(" three")
    second = go_on(client, conversation, reply_id, key)
    second.read_until(" three")
    gate.open()
    assert [stream.finish()["status"] for stream in (first, second)] == ["complete", "complete"]
    third = go_on(client, conversation, reply_id, key)
    third.finish()
    assert first.text == second.text == third.text == " three"
    assert len(upstream.generations("Continue it exactly")) == 1
    refused = client.send(conversation, "another", headers=key)
    assert (refused.status, refused.json["code"]) == (422, "idempotency_mismatch")


def test_a_key_whose_continuation_changed_nothing_is_tried_again(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    reply_id = stopped_reply(client, conversation, upstream)
    key = {"Idempotency-Key": "go-on"}
    upstream.script(respond("503 Service Unavailable"))
    assert go_on(client, conversation, reply_id, key).status == 503
    upstream.script(tokens(" three"), done())
    go_on(client, conversation, reply_id, key).finish()
    assert client.message(conversation, reply_id)["content"] == TEXT + " three"


def test_a_client_that_reconnects_its_post_begins_no_second_continuation(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    reply_id = stopped_reply(client, conversation, upstream)
    gate = upstream.gate()
    upstream.script(tokens(" three"), hold(gate), tokens(" four"), done())
    first = go_on(client, conversation, reply_id)
    first.read_until(" three")
    cursor = first.last_cursor
    first.abort()
    again = go_on(client, conversation, reply_id, {"Last-Event-ID": cursor})
    gate.open()
    again.finish()
    assert again.text == " four"
    assert len(upstream.generations("Continue it exactly")) == 1


def test_the_reply_of_a_killed_worker_goes_on_elsewhere(
    client: Client, conversation: str, upstream: ScriptedUpstream, new_server: StartServer
) -> None:
    settings = {"ABANDONED_AFTER_SECONDS": "2", "CHECKPOINT_SECONDS": "0.2"}
    reply_id = stopped_reply(client, conversation, upstream)
    with new_server(**settings) as doomed:
        upstream.script(tokens(" three"), hold(upstream.gate()))
        go_on(client.at(doomed.port), conversation, reply_id).read_until(" three")
        wait_until(lambda: client.message(conversation, reply_id)["content"].endswith(" three"), "it is saved")
        doomed.kill()
    interrupted = wait_until(
        lambda: (found := client.message(conversation, reply_id))["status"] == "interrupted" and found, "it is interrupted"
    )
    assert interrupted["content"] == TEXT + " three"
    upstream.script(tokens(" four"), done())
    stream = go_on(client, conversation, reply_id)
    stream.finish()
    assert (stream.text, client.message(conversation, reply_id)["content"]) == (" four", TEXT + " three four")


def test_the_usage_adds_up(openai_client: Client, upstream: ScriptedUpstream) -> None:
    conversation = openai_client.create_conversation()
    before = usage_of(openai_client)
    usage = event('{"id": "c1", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}')
    upstream.script(tokens(TEXT), ENDED_BY_LENGTH, usage, event("[DONE]"), when="count")
    reply_id = openai_client.ask(conversation, "count").message_id
    upstream.script(tokens(" three"), done(usage={"prompt_tokens": 20, "completion_tokens": 3}))
    go_on(openai_client, conversation, reply_id).finish()
    assert openai_client.message(conversation, reply_id)["token_count"] == 8
    after = usage_of(openai_client)
    assert {name: after[name] - before[name] for name in after} == {"messages": 1, "replies": 1, "tokens": 8}


def usage_of(client: Client) -> dict[str, int]:
    days = client.get("/api/usage")["days"]
    return {name: sum(day[name] for day in days) for name in ("messages", "replies", "tokens")}
