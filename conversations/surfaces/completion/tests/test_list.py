"""GET /conversation"""

from conversations.surfaces.completion.tests.calls import complete, create
from tests.support.client import Client


def test_conversations_come_with_their_messages(client: Client) -> None:
    first, second = create(client), create(client)
    for text in ("one", "two"):
        assert complete(client, first, message=text).status == 200
    found = client.get("/conversation")
    assert [item["id"] for item in found] == [first, second]
    assert found[1]["messages"] == []
    assert [(item["author"], item["content"]) for item in found[0]["messages"]] == [
        ("user", "one"),
        ("assistant", "one"),
        ("user", "two"),
        ("assistant", "two"),
    ]
    page = client.request("GET", "/conversation?limit=1")
    assert [item["id"] for item in page.json] == [first]
    path = page.headers["Link"].partition(">")[0][1:]
    assert [item["id"] for item in client.get(path)] == [second]
