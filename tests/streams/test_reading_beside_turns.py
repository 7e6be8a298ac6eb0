"""A conversation that is read while its turns run is of one moment."""

import threading

import pytest

from tests.support.client import Client

TURNS = 25
QUERIES = ("", "?limit=1", "?limit=50")


@pytest.mark.parametrize("query", QUERIES, ids=["whole", "one message", "a page"])
def test_the_running_reply_is_the_one_that_streams(client: Client, conversation: str, query: str) -> None:
    contradictions: list[tuple[object, list[object]]] = []
    reads = []
    is_over = threading.Event()

    def read_again_and_again() -> None:
        while not is_over.is_set():
            read = client.get(f"/api/conversations/{conversation}{query}")
            streaming = [message["id"] for message in read["messages"] if message["status"] == "streaming"]
            reads.append(streaming)
            if read["running_message_id"] != (streaming[0] if streaming else None):
                contradictions.append((read["running_message_id"], streaming))

    readers = [threading.Thread(target=read_again_and_again) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(TURNS):
        client.ask(conversation, f"turn {number}")
    is_over.set()
    for reader in readers:
        reader.join()
    assert contradictions == []
    assert any(reads) and not all(reads)
