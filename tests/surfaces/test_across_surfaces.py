"""One conversation, several ways in: what is written on one surface is read on each of the others."""

from collections.abc import Callable

from tests.support.client import Client

Written = list[tuple[str, str]]


def write_primary(client: Client, conversation: str, text: str) -> None:
    client.ask(conversation, text)


def write_contract(client: Client, conversation: str, text: str) -> None:
    client.open("POST", f"/conversations/{conversation}/messages", {"message": {"content": text}}).finish()


def write_session(client: Client, conversation: str, text: str) -> None:
    client.open("POST", "/api/v1/chat/stream", {"session_id": "shared", "message": text}).finish()


def write_completion(client: Client, conversation: str, text: str) -> None:
    assert client.request("POST", f"/conversation/completion/{conversation}", {"message": text}).status == 200


def write_ai_sdk(client: Client, conversation: str, text: str) -> None:
    question = {"id": f"key-of-{text.replace(' ', '-')}", "role": "user", "parts": [{"type": "text", "text": text}]}
    stream = client.open("POST", "/api/chat", {"id": conversation, "messages": [question]})
    assert stream.body().endswith(b"data: [DONE]\n\n")


def read_primary(client: Client, conversation: str) -> Written:
    return [(item["role"], item["content"]) for item in client.conversation(conversation)["messages"]]


def read_contract(client: Client, conversation: str) -> Written:
    return [(item["role"], item["content"]) for item in client.get(f"/conversations/{conversation}/messages")]


def read_session(client: Client, conversation: str) -> Written:
    roles = {"user": "user", "bot": "assistant"}
    return [(roles[item["sender"]], item["text"]) for item in client.get("/api/v1/chat/shared/history")["messages"]]


def read_completion(client: Client, conversation: str) -> Written:
    (found,) = [item for item in client.get("/conversation") if item["id"] == conversation]
    return [(item["author"], item["content"]) for item in found["messages"]]


def read_ai_sdk(client: Client, conversation: str) -> Written:
    # The name of a session is the name of a chat.
    return [(item["role"], item["parts"][0]["text"]) for item in client.get("/api/chat/shared")["messages"]]


WRITERS: list[Callable[[Client, str, str], None]] = [
    write_primary,
    write_contract,
    write_session,
    write_completion,
    write_ai_sdk,
]
READERS: list[Callable[[Client, str], Written]] = [
    read_primary,
    read_contract,
    read_session,
    read_completion,
    read_ai_sdk,
]


def test_what_is_written_on_one_surface_is_read_on_all(client: Client) -> None:
    # A session makes the conversation, because only a session gives it a name; then all surfaces go on with it.
    write_session(client, "", "first")
    conversation = client.get("/api/conversations")["items"][0]["id"]
    expected = [("user", "first"), ("assistant", "first")]
    for write in WRITERS:
        text = f"by {write.__name__}"
        write(client, conversation, text)
        expected += [("user", text), ("assistant", text)]
        for read in READERS:
            assert read(client, conversation) == expected, read.__name__


def test_conversations_begun_on_one_surface_are_listed_on_all(client: Client) -> None:
    begun = {
        client.create_conversation(title="primary"),
        client.request("POST", "/conversations", {"title": "contract", "model_tag": "default"}).json["id"],
        client.request("POST", "/conversation").json["id"],
    }
    write_session(client, "", "session")
    listed = {item["id"] for item in client.get("/api/conversations")["items"]}
    assert begun < listed
    assert len(listed) == 4
    assert {item["id"] for item in client.get("/conversations")} == listed
    assert {item["id"] for item in client.get("/conversation")} == listed


def test_a_send_repeated_on_another_surface_is_one_turn(client: Client) -> None:
    conversation, key = client.create_conversation(), {"Idempotency-Key": "one"}
    client.send(conversation, "once", headers=key).finish()
    again = client.request(
        "POST", f"/conversations/{conversation}/messages", {"message": {"content": "once"}, "stream": False}, key
    )
    assert again.json["content"] == "once"
    assert len(client.messages(conversation)) == 2
