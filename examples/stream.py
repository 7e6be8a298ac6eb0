"""Send a message and print its reply; continue where the connection broke: `TOKEN=… python stream.py CONVERSATION "Hello"`."""

import os
import sys
import time
import uuid
from collections.abc import Iterator

import httpx
from httpx_sse import connect_sse


def stream_reply(client: httpx.Client, conversation_id: str, content: str, key: str) -> Iterator[dict]:
    """Yield the objects of a reply, `done` last. Raises `httpx.HTTPStatusError` for a refusal that does not pass."""
    call = {"method": "POST", "url": f"/api/conversations/{conversation_id}/messages", "json": {"content": content}}
    headers, failures, wait = {"Idempotency-Key": key}, 0, 0
    while True:
        try:
            with connect_sse(client, **call, headers=headers) as source:
                if place := source.response.raise_for_status().headers.get("Content-Location"):  # From now on, follow it.
                    call = {"method": "GET", "url": f"{place}/stream"}
                for event in source.iter_sse():
                    headers["Last-Event-ID"], failures, wait = event.id, 0, 0
                    yield event.json()
                    if event.id == "done":
                        return
        except (httpx.TransportError, httpx.HTTPStatusError) as problem:
            answer = getattr(problem, "response", None)
            wait = int(after) if answer and (after := answer.headers.get("Retry-After", "")).isdigit() else 0
            passing = (429, 500, 502, 503, 504) if call["method"] == "GET" else (502, 503, 504) if wait else ()
            if failures >= 8 or wait > 30 or (answer and answer.status_code not in passing):
                raise
        time.sleep(max(wait, min(0.25 * 2 ** (failures := failures + 1), 8)))


if __name__ == "__main__":
    sender = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
    with httpx.Client(base_url=os.environ.get("URL", "http://localhost:8002"), headers=sender, timeout=45) as service:
        for said in stream_reply(service, sys.argv[1], sys.argv[2], key=str(uuid.uuid4())):
            print(said.get("token") or said.get("detail") or "", end="", flush=True)
