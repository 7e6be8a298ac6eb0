"""What a user sent is never doubled: a key makes a retry find the first send."""

import pytest

from tests.support.client import Client, Stream
from tests.support.parallel import at_once
from tests.support.steps import Step, die, done, head, hold, respond, tokens
from tests.support.upstream import ScriptedUpstream

KEY = {"Idempotency-Key": "8b0d7c1e-once"}


def test_twenty_simultaneous_sends_are_one_turn(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("only "), hold(gate), tokens("once"), done())

    def send(_: int) -> Stream:
        stream = client.send(conversation, "please", headers=KEY)
        stream.read_until("only ")
        return stream

    streams = at_once(send, 20)
    gate.open()
    assert {stream.finish()["status"] for stream in streams} == {"complete"}
    assert {stream.text for stream in streams} == {"only once"}
    assert len({(stream.message_id, stream.headers["X-User-Message-Id"]) for stream in streams}) == 1
    assert [stream.headers.get("X-Idempotent-Replay") for stream in streams].count(None) == 1
    assert [item["role"] for item in client.messages(conversation)] == ["user", "assistant"]
    assert len(upstream.generations()) == 1


def test_a_retry_after_a_lost_connection_gets_the_reply_from_its_start(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("one"), hold(gate), tokens(" two"), done())
    first = client.send(conversation, "retry me", headers=KEY)
    first.read_until("one")
    first.abort()
    retry = client.send(conversation, "retry me", headers=KEY)
    gate.open()
    assert retry.finish()["status"] == "complete"
    assert (retry.text, retry.message_id) == ("one two", first.message_id)


def test_a_retry_after_the_end_replays_the_reply(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    first = client.send(conversation, "the whole answer", headers=KEY)
    end = first.finish()
    retry = client.send(conversation, "the whole answer", headers=KEY)
    assert retry.finish() == end
    assert retry.text == first.text == "the whole answer"
    assert len(upstream.generations()) == 1


def test_a_retry_goes_on_where_the_first_broke_off(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("one"), hold(gate), tokens(" two"), done())
    first = client.send(conversation, "go on", headers=KEY)
    first.read_until("one")
    first.abort()
    retry = client.send(conversation, "go on", headers={**KEY, "Last-Event-ID": "3"})
    gate.open()
    assert retry.finish()["status"] == "complete"
    assert (retry.text, retry.message_id) == (" two", first.message_id)
    later = client.send(conversation, "go on", headers={**KEY, "Last-Event-ID": "5"})
    later.finish()
    assert later.text == "wo"


def test_a_retry_by_a_client_that_has_the_end_is_told_to_stop(client: Client, conversation: str) -> None:
    first = client.send(conversation, "all of it", headers=KEY)
    first.finish()
    has_the_end = {**KEY, "Last-Event-ID": "done"}
    retry = client.send(conversation, "all of it", headers=has_the_end)
    assert (retry.status, retry.message_id, retry.body()) == (204, first.message_id, b"")
    assert len(client.messages(conversation)) == 2
    other = client.create_conversation()
    assert client.send(other, "a key that is new", headers=has_the_end).finish()["status"] == "complete"


def test_another_body_is_refused(client: Client, conversation: str) -> None:
    client.send(conversation, "one thing", headers=KEY).finish()
    for other in ({"content": "another thing"}, {"content": "one thing", "temperature": 0.1}):
        refused = client.request("POST", f"/api/conversations/{conversation}/messages", other, KEY)
        assert (refused.status, refused.json["code"]) == (422, "idempotency_mismatch")
    assert len(client.messages(conversation)) == 2


def test_a_key_counts_in_one_conversation_only(client: Client, conversation: str) -> None:
    client.send(conversation, "here", headers=KEY).finish()
    other = client.create_conversation()
    stream = client.send(other, "there", headers=KEY)
    stream.finish()
    assert stream.text == "there"


@pytest.mark.parametrize("failure", [(respond("503 Service Unavailable"),), (head(), die())], ids=["refused", "accepted"])
def test_a_retry_of_a_failed_send_answers_the_same_question(
    client: Client, conversation: str, upstream: ScriptedUpstream, failure: tuple[Step, ...]
) -> None:
    upstream.script(*failure)
    first = client.send(conversation, "fail", headers=KEY)
    first.body()
    upstream.script(tokens("here"), done())
    retry = client.send(conversation, "fail", headers=KEY)
    assert retry.finish()["status"] == "complete"
    assert retry.text == "here"
    asked, failed, answer = client.messages(conversation)
    assert retry.headers["X-User-Message-Id"] == asked["id"] == answer["parent_id"]
    assert (failed["status"], failed["is_active"], answer["id"], answer["is_active"]) == (
        *("failed", False),
        *(retry.message_id, True),
    )
    assert upstream.generations()[-1].messages == [{"role": "user", "content": "fail"}]


def test_simultaneous_retries_of_a_failed_send_are_one_reply(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(respond("503 Service Unavailable"))
    for _ in range(2):
        assert client.send(conversation, "fail", headers=KEY).status == 503
    gate = upstream.gate()
    upstream.script(tokens("on"), hold(gate), tokens("ce"), done())

    def retry(_: int) -> Stream:
        stream = client.send(conversation, "fail", headers=KEY)
        stream.read_until("on")
        return stream

    streams = at_once(retry, 10)
    gate.open()
    assert {(stream.finish()["status"], stream.text) for stream in streams} == {("complete", "once")}
    assert len({stream.message_id for stream in streams}) == 1
    assert [item["role"] for item in client.messages(conversation)] == ["user", *["assistant"] * 3]


def test_a_retry_of_a_reply_that_broke_off_finds_what_it_said(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens("half"), die())
    first = client.send(conversation, "fail", headers=KEY)
    first.finish()
    retry = client.send(conversation, "fail", headers=KEY)
    assert retry.finish()["status"] == "failed"
    assert (retry.text, retry.message_id) == ("half", first.message_id)
    assert len(upstream.generations()) == 1


@pytest.mark.parametrize("verb", ["edit", "regenerate"])
def test_editing_and_regenerating_take_a_key_too(
    client: Client, conversation: str, upstream: ScriptedUpstream, verb: str
) -> None:
    asked_id = client.ask(conversation, "question").headers["X-User-Message-Id"]
    path = f"/api/conversations/{conversation}"
    call = {
        "edit": ("PUT", f"{path}/messages/{asked_id}", {"content": "changed"}),
        "regenerate": ("POST", f"{path}/regenerate", {}),
    }[verb]
    upstream.script(respond("503 Service Unavailable"))
    assert client.open(*call, KEY).status == 503
    assert [item["content"] for item in client.conversation(conversation)["messages"]] == ["question", "question"]
    gate = upstream.gate()
    upstream.script(tokens("on"), hold(gate), tokens("ce"), done())

    def repeat(_: int) -> Stream:
        stream = client.open(*call, KEY)
        stream.read_until("on")
        return stream

    streams = at_once(repeat, 6)
    gate.open()
    assert {(stream.finish()["status"], stream.text) for stream in streams} == {("complete", "once")}
    assert len({stream.message_id for stream in streams}) == 1
    assert [item["content"] for item in client.conversation(conversation)["messages"]][1] == "once"
    # The refused one, and the one that was tried again.
    assert len(upstream.generations()) == 3
    method, address, body = call
    refused = client.request(method, address, {**body, "temperature": 0.1}, KEY)
    assert (refused.status, refused.json["code"]) == (422, "idempotency_mismatch")
    assert client.request(method, address, body, {"Idempotency-Key": "two words"}).status == 400


def test_sends_without_a_key_are_turns_of_their_own(client: Client, conversation: str) -> None:
    client.ask(conversation, "same words")
    client.ask(conversation, "same words")
    assert len(client.messages(conversation)) == 4


def test_a_retry_that_begins_anew_starts_at_the_beginning(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(respond("503 Service Unavailable"), when="anew")
    assert client.send(conversation, "anew", headers=KEY).status == 503
    upstream.script(tokens("from ", "the start"), done(), when="anew")
    retry = client.send(conversation, "anew", headers={**KEY, "Last-Event-ID": "5"})
    assert retry.finish()["status"] == "complete"
    assert (retry.text, retry.headers["X-Stream-Restarted"]) == ("from the start", "true")
    # "5" is an event of the reply that came to nothing, however often the client says so. Events of the new reply have ids of
    # their own.
    for _ in range(2):
        again = client.send(conversation, "anew", headers={**KEY, "Last-Event-ID": "5"})
        again.finish()
        assert (again.text, again.headers["X-Stream-Restarted"], again.message_id) == (
            "from the start",
            "true",
            retry.message_id,
        )
    read = next(frame for frame in retry.frames if frame.object and frame.object.get("token") == "from ")
    rest = client.send(conversation, "anew", headers={**KEY, "Last-Event-ID": str(read.event_id)})
    rest.finish()
    assert (rest.text, "X-Stream-Restarted" in rest.headers) == ("the start", False)
    followed = client.follow(conversation, retry.message_id, last_event_id=read.event_id)
    followed.finish()
    assert followed.text == "the start"
    # Nor do readers of one reply get the rest after an event of another one.
    other = client.ask(conversation, "another turn")
    followed = client.follow(conversation, other.message_id, last_event_id=read.event_id)
    followed.finish()
    assert (followed.text, followed.headers["X-Stream-Restarted"]) == ("another turn", "true")


def test_a_retry_after_other_turns_starts_at_the_beginning(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    upstream.script(respond("503 Service Unavailable"), when="anew")
    assert client.send(conversation, "anew", headers=KEY).status == 503
    client.ask(conversation, "another turn")
    upstream.script(tokens("from ", "the start"), done(), when="anew")
    for _ in range(2):
        retry = client.send(conversation, "anew", headers={**KEY, "Last-Event-ID": "5"})
        retry.finish()
        assert (retry.text, retry.headers["X-Stream-Restarted"]) == ("from the start", "true")


@pytest.mark.parametrize("verb", ["edit", "regenerate"])
def test_a_retried_edit_or_regeneration_starts_at_the_beginning(
    client: Client, conversation: str, upstream: ScriptedUpstream, verb: str
) -> None:
    asked_id = client.ask(conversation, "question").headers["X-User-Message-Id"]
    path = f"/api/conversations/{conversation}"
    method, address, body = {
        "edit": ("PUT", f"{path}/messages/{asked_id}", {"content": "changed"}),
        "regenerate": ("POST", f"{path}/regenerate", {}),
    }[verb]
    upstream.script(respond("503 Service Unavailable"))
    assert client.open(method, address, body, KEY).status == 503
    upstream.script(tokens("from ", "the start"), done())
    for _ in range(3):
        retry = client.open(method, address, body, {**KEY, "Last-Event-ID": "5"})
        retry.finish()
        assert (retry.text, retry.headers["X-Stream-Restarted"]) == ("from the start", "true")


@pytest.mark.parametrize("key", [KEY, {}], ids=["with a key", "without a key"])
def test_a_retry_never_gets_the_rest_of_a_regenerated_answer(
    client: Client, conversation: str, upstream: ScriptedUpstream, key: dict[str, str]
) -> None:
    upstream.script(respond("503 Service Unavailable"))
    assert client.send(conversation, "question", headers=key).status == 503
    upstream.script(tokens("regenerated"), done())
    client.regenerate(conversation).finish()
    again = client.send(conversation, "question", headers={**key, "Last-Event-ID": "5"})
    again.finish()
    assert again.text == ("regenerated" if key else "")
