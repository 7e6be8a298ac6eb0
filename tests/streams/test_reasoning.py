"""What a model thinks comes in a channel of its own, which is resumed as exactly as the text, on every node."""

from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import done, hold, thinking_until, thought, token, tokens
from tests.support.upstream import ScriptedUpstream

OPENAI = {"INFERENCE_PROTOCOL": "openai", "INFERENCE_MODEL": "tiny"}
THOUGHTS = ["Let me", " think 🎈", " e\u0301."]
TEXTS = ["Hello", " wörld", " 👩‍👩‍👧", " end"]
REASONING, TEXT = "".join(THOUGHTS), "".join(TEXTS)


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(**OPENAI) as server:
        yield server


@pytest.fixture(scope="module")
def other_node(new_server: StartServer) -> Iterator[Server]:
    with new_server(**OPENAI, HEARTBEAT_SECONDS="0.5") as server:
        yield server


def test_reasoning_and_text_come_in_frames_of_their_own(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(thought("Hm"), thought("m."), tokens("Yes", "."), done())
    stream = client.ask(conversation, "think")
    assert [(frame.event_id, frame.object) for frame in stream.frames if frame.object][:-1] == [
        ("0-2", {"reasoning": "Hm"}),
        ("0-4", {"reasoning": "m."}),
        ("3-4", {"token": "Yes"}),
        ("4-4", {"token": "."}),
    ]
    end = stream.objects[-1]
    assert (end["status"], end["finish_reason"], end["token_count"]) == ("complete", "stop", 4)
    message = client.message(conversation, stream.message_id)
    assert (message["content"], message["reasoning"], message["finish_reason"]) == ("Yes.", "Hmm.", "stop")
    [asked, answer] = client.conversation(conversation)["messages"]
    assert (asked["reasoning"], asked["finish_reason"], answer["reasoning"]) == ("", "", "Hmm.")


def test_ids_are_as_before_where_there_is_no_reasoning(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("Yes", "."), done())
    stream = client.ask(conversation, "don't think")
    assert [frame.event_id for frame in stream.frames if frame.event_id] == ["3", "4", "done"]


def test_a_reader_resumes_at_every_cursor_here_and_elsewhere(
    client: Client, conversation: str, upstream: ScriptedUpstream, other_node: Server
) -> None:
    gate = upstream.gate()
    script = (thought(THOUGHTS[0]), tokens(TEXTS[0]), thought(THOUGHTS[1]), tokens(TEXTS[1]), thought(THOUGHTS[2]))
    upstream.script(*script, hold(gate), tokens(*TEXTS[2:]), done())
    elsewhere = client.at(other_node.port)
    sender = client.send(conversation, "to and fro")
    while sender.reasoning != REASONING:
        sender.read_object()
    cursors = [(text, reasoning) for text in range(len(TEXTS[0]) + 2) for reasoning in range(0, len(REASONING) + 1, 2)]
    running = [
        (user.follow(conversation, sender.message_id, last_event_id=f"{text}-{reasoning}"), text, reasoning)
        for text, reasoning in cursors
        for user in ((client, elsewhere) if (text + reasoning) % 3 == 0 else (client,))
    ]
    for reader, text, reasoning in running:
        while (reader.text, reader.reasoning) != ("".join(TEXTS[:2])[text:], REASONING[reasoning:]):
            reader.read_object()
    gate.open()
    for reader, text, reasoning in running:
        reader.finish()
        assert (reader.text, reader.reasoning) == (TEXT[text:], REASONING[reasoning:])
        assert reader.last_cursor == f"{len(TEXT)}-{len(REASONING)}"
        reader.close()
    # The ended reply, by the query.
    for text, reasoning in cursors[::3]:
        reader = elsewhere.follow(conversation, sender.message_id, f"?after={text}-{reasoning}")
        reader.finish()
        assert (reader.text, reader.reasoning) == (TEXT[text:], REASONING[reasoning:])
        reader.close()


def test_a_reader_changes_nodes_in_mid_thought_without_losing_anything(
    client: Client, conversation: str, upstream: ScriptedUpstream, other_node: Server
) -> None:
    gates = [upstream.gate() for _ in range(3)]
    upstream.script(
        thought(THOUGHTS[0]), hold(gates[0]), thought(THOUGHTS[1]), hold(gates[1]), thought(THOUGHTS[2]), tokens(*TEXTS[:2]),
        hold(gates[2]), tokens(*TEXTS[2:]), done(),
    )  # fmt: skip
    nodes = [client.at(other_node.port), client]
    reader = client.send(conversation, "to and fro")
    message_id, text, reasoning = reader.message_id, "", ""
    for step, gate in enumerate(gates):
        wanted = ("", REASONING[: len("".join(THOUGHTS[: step + 1]))]) if step < 2 else ("".join(TEXTS[:2]), REASONING)
        while (text + reader.text, reasoning + reader.reasoning) != wanted:
            reader.read_object()
        text, reasoning, cursor = text + reader.text, reasoning + reader.reasoning, reader.last_cursor
        reader.abort()
        gate.open()
        reader = nodes[step % 2].follow(conversation, message_id, last_event_id=cursor)
    assert reader.finish()["status"] == "complete"
    assert (text + reader.text, reasoning + reader.reasoning) == (TEXT, REASONING)


@pytest.mark.parametrize("cursor", ["5-", "-5", "5-6-7-8", "5-6-", "5-6-100", "5-2147483648"])
def test_an_impossible_cursor_is_a_400(client: Client, conversation: str, cursor: str) -> None:
    message_id = client.ask(conversation, "question").message_id
    path = f"/api/conversations/{conversation}/messages/{message_id}/stream"
    assert client.request("GET", path, headers={"Last-Event-ID": cursor}).status == 400
    assert client.request("GET", f"{path}?after={cursor}").status == 400


def test_a_stop_in_mid_thought_keeps_the_thought(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(thought("so far"), hold(upstream.gate()))
    stream = client.send(conversation, "stop me")
    stream.read_object()
    message = client.stop(conversation).json
    assert (message["status"], message["content"], message["reasoning"]) == ("stopped", "", "so far")


def test_the_other_surfaces_know_only_the_text(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(thought("Hm."), token("Yes"), done())
    contract = client.open("POST", f"/conversations/{conversation}/messages", {"message": {"content": "think"}})
    assert contract.finish()["finish_reason"] == "stop"
    assert (contract.text, contract.reasoning) == ("Yes", "")
    session = client.open("POST", "/api/v1/chat/stream", {"session_id": "thoughts", "message": "think"})
    session.finish()
    assert (session.text, session.reasoning) == ("Yes", "")
    bare = client.open("POST", f"/conversation/completion/{conversation}", {"message": "think", "stream": True})
    assert bare.body() == b"Yes"
    assert b"Hm" not in client.request("GET", f"/conversations/{conversation}/messages").content


def test_a_stream_without_reasoning_shows_that_it_lives_while_the_model_thinks(
    client: Client, conversation: str, upstream: ScriptedUpstream, other_node: Server
) -> None:
    gate = upstream.gate()
    upstream.script(thinking_until(gate), token("Yes"), done())
    path = f"/conversations/{conversation}/messages"
    stream = client.at(other_node.port).open("POST", path, {"message": {"content": "think"}})
    while stream.comments.count("ping") < 2:
        stream.read()
    gate.open()
    stream.finish()
    assert (stream.text, stream.reasoning) == ("Yes", "")
