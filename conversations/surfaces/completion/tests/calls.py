"""Calls of the completion surface."""

from tests.support.client import Client


def create(client: Client) -> str:
    """Create a conversation and return its id."""
    answer = client.request("POST", "/conversation")
    assert answer.status == 201, answer
    return str(answer.json["id"])


def complete(client: Client, conversation: str, **body):
    return client.open("POST", f"/conversation/completion/{conversation}", body)
