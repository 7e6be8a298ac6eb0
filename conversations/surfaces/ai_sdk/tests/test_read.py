"""GET /api/chat/{chat_id}"""

from conversations.surfaces.ai_sdk.tests.calls import alone, ask, chat_messages, question, submit, texts
from tests.support.client import Client
from tests.support.steps import done, hang_up, hold, respond, tokens
from tests.support.upstream import ScriptedUpstream


def test_a_chat_with_its_messages(client: Client) -> None:
    found = ask(client, question("What is tea?"))
    chat = client.get("/api/chat/kitchen")
    assert (set(chat), chat["id"], chat["title"]) == ({"id", "title", "messages"}, "kitchen", "What is tea?")
    asked, answer = chat["messages"]
    assert {name: asked[name] for name in ("id", "role", "parts")} == question("What is tea?")
    assert set(asked["metadata"]) == {"createdAt"}
    assert (answer["id"], answer["role"]) == (found[0]["messageId"], "assistant")
    assert answer["parts"] == [{"type": "text", "text": "What is tea?", "state": "done"}]
    assert set(answer["metadata"]) == {"createdAt", "status", "finishReason"}


def test_an_unknown_chat_does_not_exist(client: Client, other_client: Client) -> None:
    ask(client)
    conversation = client.get("/api/conversations")["items"][0]["id"]
    for name in ("unknown", "%00", "a%0A", "x" * 201, conversation):
        assert other_client.request("GET", f"/api/chat/{name}").status == 404
    assert client.request("GET", f"/api/chat/{conversation}").status == 200


def test_a_long_chat_comes_in_pages(client: Client) -> None:
    for number in range(3):
        alone(client, question(f"m{number}", f"q{number}"))
    page = client.request("GET", "/api/chat/kitchen?limit=4")
    assert [text for _, text in texts(page.json["messages"])] == ["m1", "m1", "m2", "m2"]
    older = client.get(page.headers["Link"].partition(">")[0][1:])
    assert [text for _, text in texts(older["messages"])] == ["m0", "m0"]


def test_a_running_reply_is_left_out(client: Client, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("part"), hold(gate), done())
    running = submit(client)
    upstream.wait_call()
    assert texts(chat_messages(client)) == [("user", "hi")]
    gate.open()
    assert running.body().endswith(b"data: [DONE]\n\n")
    assert texts(chat_messages(client)) == [("user", "hi"), ("assistant", "part")]


def test_an_answer_is_left_out_while_another_is_made(client: Client, upstream: ScriptedUpstream) -> None:
    ask(client)
    alone(client, question("second", "q2"))
    gate = upstream.gate()
    upstream.script(tokens("part"), hold(gate), hang_up())
    running = submit(client, *chat_messages(client)[:3], trigger="regenerate-message")
    wanted = [("user", "hi"), ("assistant", "hi"), ("user", "second")]
    assert texts(chat_messages(client)) == wanted
    gate.open()
    running.body()
    # The new answer failed, so the old one still counts.
    assert texts(chat_messages(client)) == [*wanted, ("assistant", "second")]


def test_a_reply_without_text_has_an_empty_part(client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(respond("503 Service Unavailable", b"{}"))
    assert submit(client).status == 503
    answer = chat_messages(client)[1]
    assert answer["parts"] == [{"type": "text", "text": "", "state": "done"}]
    assert answer["metadata"]["status"] == "failed"
