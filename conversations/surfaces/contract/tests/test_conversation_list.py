"""GET /conversations"""

from conversations.surfaces.contract.tests.calls import create, read_pages
from tests.support.client import Client


def test_conversations_come_in_pages_that_link_to_the_next(client: Client) -> None:
    created = [create(client, f"number {number}") for number in range(5)]
    pages = read_pages(client, "/conversations?limit=2")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [item["id"] for page in pages for item in page] == created[::-1]


def test_a_cursor_of_ours_counts_in_its_own_list_only(client: Client) -> None:
    for number in range(2):
        create(client, f"number {number}")
    cursor = client.get("/api/conversations?limit=1")["next"]
    assert client.request("GET", f"/conversations?cursor={cursor}").status == 400
