"""A connection that breaks during COMMIT: the turn is saved, but the service does not know, and the client gets an error."""

import contextlib
import socket
import threading
import uuid
from collections.abc import Iterator

import pytest

from devstack.postgres import PostgresServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.waiting import wait_until

from .conftest import StartNode

pytestmark = pytest.mark.slow
# The frontend's message, as a query of its own or among others.
COMMIT = b"COMMIT\x00"


class CommitEater:
    """A relay in front of PostgreSQL. When armed, it passes on one commit that saves a reply, and breaks the connection instead
    of passing on the answer. Then it refuses connections until `repair` is called."""

    def __init__(self, postgres: PostgresServer) -> None:
        self._socket_file = f"{postgres.host}/.s.PGSQL.5432"
        self._is_armed = False
        self._is_broken = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._listener.getsockname()[1]}/postgres"

    def arm(self) -> None:
        self._is_armed = True

    def repair(self) -> None:
        self._is_broken = False

    def __enter__(self) -> "CommitEater":
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._break()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                service, _ = self._listener.accept()
                if self._is_broken:
                    service.close()
                    continue
                postgres = socket.socket(socket.AF_UNIX)
                postgres.connect(self._socket_file)
                with self._lock:
                    self._open |= {service, postgres}
                was_eaten = threading.Event()
                threading.Thread(target=self._to_postgres, args=(service, postgres, was_eaten), daemon=True).start()
                threading.Thread(target=self._to_service, args=(postgres, service, was_eaten), daemon=True).start()

    def _to_postgres(self, service: socket.socket, postgres: socket.socket, was_eaten: threading.Event) -> None:
        sent = b""
        with contextlib.suppress(OSError):
            while piece := service.recv(65536):
                sent = (sent + piece)[-65536:]
                if self._is_armed and COMMIT in piece and b"idempotency_key" in sent:
                    self._is_armed = False
                    was_eaten.set()
                postgres.sendall(piece)

    def _to_service(self, postgres: socket.socket, service: socket.socket, was_eaten: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while piece := postgres.recv(65536):
                if was_eaten.is_set():
                    self._is_broken = True
                    self._break()
                service.sendall(piece)

    def _break(self) -> None:
        with self._lock:
            sockets, self._open = self._open, set()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@pytest.fixture(scope="module")
def relay(postgres: PostgresServer) -> Iterator[CommitEater]:
    with CommitEater(postgres) as relay:
        yield relay


@pytest.fixture(scope="module")
def service(start_node: StartNode, relay: CommitEater) -> Iterator[Server]:
    with start_node(database_url=relay.url) as server:
        yield server


@pytest.mark.parametrize("action", ["send", "regenerate"])
def test_the_reply_ends_soon_and_the_same_key_begins_it_again(
    client: Client, relay: CommitEater, postgres: PostgresServer, action: str
) -> None:
    conversation = client.create_conversation()
    path, body = f"/api/conversations/{conversation}/messages", {"content": "only once"}
    if action == "regenerate":
        client.ask(conversation, "only once").close()
        path, body = f"/api/conversations/{conversation}/regenerate", {}
    key = {"Idempotency-Key": f"key-{uuid.uuid4().hex}"}
    relay.arm()
    refused = client.request("POST", path, body, headers=key)
    assert (refused.status, refused.json["code"]) == (503, "database_unavailable")

    def rows(condition: str) -> int:
        with postgres.connect() as connection:
            statement = f"SELECT count(*) FROM messages WHERE conversation_id = %s AND {condition}"
            return int(connection.execute(statement, [conversation]).fetchone()[0])

    assert rows("status = 'streaming'") == 1
    relay.repair()
    # Before its heartbeat is so old that every worker may end it.
    wait_until(lambda: rows("status = 'interrupted' AND heartbeat_at > now() - interval '25 s'"), "the reply is interrupted")
    answered = client.request("POST", path, {**body, "stream": False}, headers=key)
    assert (answered.status, answered.json["status"], answered.json["content"]) == (200, "complete", "only once")
    assert rows("role = 'user'") == 1
