"""Send a message and print its reply; continue where the connection broke: `TOKEN=… python stream.py CONVERSATION "Hello"`."""

import os
import sys
import time
import uuid
from collections.abc import Iterator

import httpx
from httpx_sse import connect_sse


def stream_reply(client: httpx.Client, conversation_id: str, content: str, key: str) -> Iterator[dict]:
    """Yield the objects of a reply, `done` last. Raises `httpx.HTTPStatusError` if the service refuses."""
    call = {"method": "POST", "url": f"/api/conversations/{conversation_id}/messages", "json": {"content": content}}
    headers, failures = {"Idempotency-Key": key}, 0
    while True:
        try:
            with connect_sse(client, **call, headers=headers) as source:
                source.response.raise_for_status()
                if place := source.response.headers.get("Content-Location"):  # The reply has begun, and is followed there.
                    call = {"method": "GET", "url": f"{place}/stream"}
                for event in source.iter_sse():
                    headers["Last-Event-ID"], failures = event.id, 0
                    yield event.json()
                    if event.id == "done":
                        return
        except (httpx.TransportError, httpx.HTTPStatusError) as problem:
            status = problem.response.status_code if isinstance(problem, httpx.HTTPStatusError) else 0
            if failures >= 8 or (status and (call["method"] == "POST" or (status < 500 and status != 429))):
                raise
        failures += 1
        time.sleep(min(0.25 * 2**failures, 8))


if __name__ == "__main__":
    sender = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
    with httpx.Client(base_url=os.environ.get("URL", "http://localhost:8002"), headers=sender, timeout=45) as service:
        for said in stream_reply(service, sys.argv[1], sys.argv[2], key=str(uuid.uuid4())):
            print(said.get("token") or said.get("detail") or "", end="", flush=True)
