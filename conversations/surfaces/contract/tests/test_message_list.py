"""GET /conversations/{id}/messages"""

from conversations.surfaces.contract.tests.calls import MESSAGE, create, read_pages
from tests.support.client import Client


def test_messages_come_oldest_first_and_in_pages(client: Client) -> None:
    conversation = create(client)
    for text in ("one", "two"):
        client.ask(conversation, text)
    pages = read_pages(client, f"/conversations/{conversation}/messages?limit=3")
    assert [len(page) for page in pages] == [3, 1]
    messages = [item for page in pages for item in page]
    assert [(item["role"], item["content"]) for item in messages] == [
        ("user", "one"),
        ("assistant", "one"),
        ("user", "two"),
        ("assistant", "two"),
    ]
    for message in messages:
        assert set(message) == MESSAGE
        assert None not in message.values()
        assert message["token_count"] >= 0
        assert message["inference_time_ms"] >= 0
    assert messages == client.get(f"/conversations/{conversation}/messages")
