"""Calls of the contract surface, and the fields of its responses."""

import re
from urllib.parse import urljoin

from tests.support.client import Client

CONVERSATION = {"id", "user_id", "title", "model_tag", "created_at", "updated_at"}
MESSAGE = {"id", "conversation_id", "role", "content", "token_count", "model_tag", "inference_time_ms", "created_at"}


def create(client: Client, title: str = "A title", model_tag: str = "tiny") -> str:
    answer = client.request("POST", "/conversations", {"title": title, "model_tag": model_tag})
    assert answer.status == 201, answer
    return str(answer.json["id"])


def read_pages(client: Client, path: str) -> list[list[dict]]:
    """Follow the Link headers from the first page to the last."""
    pages = []
    while path:
        answer = client.request("GET", path)
        assert answer.status == 200, answer
        pages.append(answer.json)
        link = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("Link", ""))
        path = urljoin(path, link[1]) if link else ""
    return pages
