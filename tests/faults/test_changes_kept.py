"""Local copies stay in step through a crash of PostgreSQL and through a fail-over (see `services.changes.reading`)."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from conversations.services.changes.cursors import Cursor
from devstack.folder import PROJECT
from devstack.postgres import PostgresServer, temporary_postgres
from tests.clients.node import why_node_is_missing
from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.server import Server
from tests.support.waiting import wait_until

from .conftest import StartNode
from .test_read_only import readiness

pytestmark = pytest.mark.slow
ADDRESS = "/api/changes"
NUMBERS = 500
ATTEMPTS = 5


EXAMPLES = PROJECT / "examples"
NODE_SCRIPT = f"""
import {{ followChanges }} from "{(EXAMPLES / "changes.js").as_uri()}";
const known = new Map();
for await (const {{ conversations, deleted, isWhole }} of followChanges(process.env.URL, {{ token: process.env.TOKEN }})) {{
  if (isWhole) known.clear();
  for (const item of conversations) known.set(item.id, item);
  for (const id of deleted) known.delete(id);
  console.log([...known.values()].map((item) => item.title).sort().join("\\n") + "\\n");
}}
"""


class Example:
    """One of the examples, which prints the titles of its copy after each change, with an empty line behind."""

    def __init__(self, output: Path) -> None:
        self._output = output

    @property
    def titles(self) -> list[str]:
        blocks = self._output.read_text().split("\n\n")
        return blocks[-2].split("\n") if len(blocks) > 1 else []


@contextmanager
def example(client: Client, folder: Path, kind: str) -> Iterator[Example]:
    command = [sys.executable, str(EXAMPLES / "changes.py")] if kind == "python" else ["node", str(folder / "script.mjs")]
    (folder / "script.mjs").write_text(NODE_SCRIPT)
    environment = {**os.environ, "URL": f"http://127.0.0.1:{client.port}", "TOKEN": client.token or ""}
    output = folder / f"{kind}.txt"
    with output.open("wb") as stdout:
        process = subprocess.Popen(command, env=environment, stdout=stdout)
    try:
        yield Example(output)
        assert process.poll() is None, f"the {kind} example ended"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def standby(postgres: PostgresServer) -> Iterator[PostgresServer]:
    with temporary_postgres(copy_of=postgres) as server:
        yield server


@pytest.fixture(scope="module")
def service(start_node: StartNode, postgres: PostgresServer, standby: PostgresServer) -> Iterator[Server]:
    hosts = ",".join(quote(server.host) for server in (standby, postgres))
    with start_node(database_url=f"postgresql://postgres@/postgres?host={hosts}") as server:
        yield server


@pytest.fixture
def client(service: Server) -> Iterator[Client]:
    user = Client(service.port, make_token())
    yield user
    user.close()


def told(client: Client, cursor: str) -> tuple[list[str], str]:
    """Return the titles that are told after a cursor, one a page, and the next cursor."""
    titles, has_more = [], True
    while has_more:
        body = client.get(f"{ADDRESS}?since={cursor}&limit=1")
        titles += [item["title"] for item in body["conversations"]]
        cursor, has_more = body["next"], body["has_more"]
    return titles, cursor


def rename(client: Client, conversation: str, title: str) -> None:
    path = f"/api/conversations/{conversation}"
    wait_until(lambda: client.request("PATCH", path, {"title": title}).status == 200, "the title is changed")


def test_numbers_that_a_crash_gives_out_again_hide_nothing(client: Client, postgres: PostgresServer) -> None:
    """Of transactions that were not on disk yet, PostgreSQL forgets the numbers. A cursor may contain them."""
    with postgres.connect() as connection:
        connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        connection.execute("SELECT pg_reload_conf()")
    conversation = client.create_conversation(title="begin")
    early = cursor = client.get(ADDRESS)["next"]
    was_given_again = False
    for attempt in range(ATTEMPTS):
        with postgres.connect() as connection:
            for _ in range(NUMBERS):
                connection.execute("SELECT pg_current_xact_id()")
        cursor = client.get(f"{ADDRESS}?since={cursor}")["next"]
        postgres.crash()
        postgres.start()
        rename(client, conversation, f"after crash {attempt}")
        with postgres.connect() as connection:
            (number,) = connection.execute("SELECT max(changed_in::text::bigint) FROM conversation_changes").fetchone() or (0,)
        was_given_again |= number < Cursor.decode(cursor).since.end
        titles, cursor = told(client, cursor)
        assert titles == [f"after crash {attempt}"]
        assert told(client, cursor)[0] == []
        if was_given_again and attempt:
            break
    assert was_given_again
    # An older cursor is told the newest state, once.
    assert told(client, early)[0] == [f"after crash {attempt}"]


def test_copies_stay_in_step_through_a_fail_over(
    client: Client, postgres: PostgresServer, standby: PostgresServer, tmp_path: Path
) -> None:
    with postgres.connect() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
    conversation = client.create_conversation(title="begin")
    stream = client.open("GET", ADDRESS, headers={"Accept": "text/event-stream"})
    cursor = stream.read_object()["next"]
    rename(client, conversation, "before")
    event = stream.read_object()
    assert [item["title"] for item in event["conversations"]] == ["before"]
    with ExitStack() as examples:
        kinds = ["python"] if why_node_is_missing() else ["python", "node"]
        copies = [examples.enter_context(example(client, tmp_path, kind)) for kind in kinds]
        wait_until(lambda: all(copy.titles == ["before"] for copy in copies), "the examples have the list")
        fail_over(client, postgres, standby, event["next"])
        rename(client, conversation, "after")
        wait_until(lambda: all(copy.titles == ["after"] for copy in copies), "the examples are told", 60)
    assert told(client, event["next"])[0] == ["after"]
    assert told(client, cursor)[0] == ["after"]
    # The open stream either goes on or ends, and then goes on where it was.
    while (frame := stream.read()) is not None and frame.object is None:
        pass
    if frame is None:
        again = client.open("GET", ADDRESS, headers={"Accept": "text/event-stream", "Last-Event-ID": event["next"]})
        assert [item["title"] for item in again.read_object()["conversations"]] == ["after"]
    else:
        assert [item["title"] for item in frame.object["conversations"]] == ["after"]


def fail_over(client: Client, postgres: PostgresServer, standby: PostgresServer, cursor: str) -> None:
    postgres.crash()
    wait_until(lambda: readiness(client) == "unreachable", "the server says so")
    # A standby knows of no running transactions: it is not asked.
    refused = client.request("GET", f"{ADDRESS}?since={cursor}")
    assert (refused.status, refused.json["code"]) == (503, "database_unavailable")
    standby.promote()
