"""Print the user's conversations, and again whenever one changes: `TOKEN=… python changes.py`."""

import os
import time
from collections.abc import Iterator

import httpx
from httpx_sse import connect_sse

PASSING = (429, 500, 502, 503, 504)


def follow_changes(client: httpx.Client) -> Iterator[tuple[list[dict], list[str], bool]]:
    """Yield what changed: conversations, the ids of those that are gone, and whether this is the whole list.

    The first one, and one after an expired cursor, is the whole list, archived conversations too: forget what you have. Raises
    `httpx.HTTPStatusError` for a refusal that does not pass.
    """
    cursor = None
    while True:
        try:
            if cursor is None:
                # The cursor comes first: what changes while the list is read is told afterwards.
                begun = client.get("/api/changes").raise_for_status().json()["next"]
                yield list(read_all(client)), [], True
                cursor = begun
            with connect_sse(client, "GET", "/api/changes", headers={"Last-Event-ID": cursor}) as source:
                source.response.raise_for_status()
                for event in source.iter_sse():
                    told = event.json()
                    if told["conversations"] or told["deleted"]:
                        yield told["conversations"], told["deleted"], False
                    cursor = told["next"]
        except httpx.TransportError:
            time.sleep(2)
        except httpx.HTTPStatusError as refusal:
            if refusal.response.status_code == 410:
                cursor = None
            elif refusal.response.status_code in PASSING:
                time.sleep(max(2, int(refusal.response.headers.get("Retry-After", "0"))))
            else:
                raise


def read_all(client: httpx.Client) -> Iterator[dict]:
    for archived in ("false", "true"):
        page = {"next": ""}
        while page["next"] is not None:
            query = {"archived": archived, "limit": 200} | ({"cursor": page["next"]} if page["next"] else {})
            page = client.get("/api/conversations", params=query).raise_for_status().json()
            yield from page["items"]


if __name__ == "__main__":
    sender = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
    known: dict[str, dict] = {}
    with httpx.Client(base_url=os.environ.get("URL", "http://localhost:8002"), headers=sender, timeout=45) as service:
        for conversations, deleted, is_whole in follow_changes(service):
            known = {} if is_whole else known
            known |= {item["id"]: item for item in conversations}
            for gone in deleted:
                known.pop(gone, None)
            print(*sorted(item["title"] for item in known.values()), sep="\n", end="\n\n", flush=True)
