"""A request body that comes in chunks counts like any other."""

import http.client
import json
from collections.abc import Iterator

from tests.support.client import Client


def send_chunked(client: Client, path: str, pieces: Iterator[bytes]) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)
    try:
        headers = {"Authorization": f"Bearer {client.token}", "Content-Type": "application/json"}
        connection.request("POST", path, body=pieces, headers=headers, encode_chunked=True)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_a_chunked_body_is_read(client: Client) -> None:
    status, conversation = send_chunked(client, "/api/conversations", iter([b'{"title"', b': "in pieces"}']))
    assert (status, conversation["title"]) == (201, "in pieces")


def test_a_chunked_body_has_the_same_limit(client: Client) -> None:
    too_much = iter([b'{"title": "', b"x" * 300_000, b'"}'])
    status, refusal = send_chunked(client, "/api/conversations", too_much)
    assert (status, refusal["code"]) == (413, "payload_too_large")
    assert client.get("/api/conversations")["items"] == []
