"""Two cells behind one nginx: a user who chats all the time is moved to the other one and back."""

import contextlib
import http.client
import json
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from devstack.folder import PROJECT
from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client
from tests.support.database import migrated_database, run_command
from tests.support.nginx import ADDRESS, MISSING, Nginx, find_nginx
from tests.support.server import Server
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

ROWS_SQL = """
SELECT (SELECT count(*) FROM conversations WHERE user_id = %(user)s)
     + (SELECT count(*) FROM usage_totals WHERE user_id = %(user)s)
     + (SELECT count(*) FROM user_instructions WHERE user_id = %(user)s)
"""
MESSAGES_SQL = "SELECT role, content, status FROM messages WHERE conversation_id = %s ORDER BY created_at"
# Between two questions, as a person would, so that there are not thousands.
PAUSE_S = 0.2
# On other surfaces than that of the chatting user.
SENDS: dict[str, Any] = {
    "/api/v1/chat/stream": {"session_id": "a-session", "message": "hi"},
    "/v1/responses": {"input": "hi"},
    "/api/chat": {"id": "a-chat", "message": {"id": "m-1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}},
}


class CellsNginx(Nginx):
    configuration = PROJECT / "deploy" / "cells" / "cells.conf"
    upstreams = ("server eu.chat.internal:80", "server us.chat.internal:80")


@pytest.fixture(scope="module")
def cells(auth_of_session: ScriptedAuth, upstream_of_session: ScriptedUpstream) -> Iterator[dict[str, tuple[str, int]]]:
    """The database and the port of a node of each cell."""
    if find_nginx() is None:
        pytest.skip(MISSING)
    with contextlib.ExitStack() as stack:
        found = {}
        for name in ("eu", "us"):
            url = stack.enter_context(migrated_database())
            node = Server(
                database_url=url, auth_url=auth_of_session.url, upstream_url=upstream_of_session.url, TRUSTED_PROXIES=ADDRESS
            )
            found[name] = url, stack.enter_context(node).port
        yield found


@pytest.fixture(scope="module")
def nginx(cells: dict[str, tuple[str, int]]) -> Iterator[Nginx]:
    with tempfile.TemporaryDirectory(prefix="chat-api-cells-") as folder:
        proxy = CellsNginx(Path(folder), [port for _, port in cells.values()])
        with proxy.run():
            yield proxy


class Chatter:
    """A client that sends one question after another, and repeats each with its key until it has the reply."""

    def __init__(self, port: int) -> None:
        self.client = Client(port, make_token())
        # What the auth service has set.
        self.cell: str | None = None
        self.conversation = ""
        self.answered: list[str] = []
        self.refusals = 0
        self.failures: list[str] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def user_id(self) -> str:
        return str(uuid.UUID(self.client.token[5:]))

    def headers(self) -> dict[str, str]:
        return {} if self.cell is None else {"Cookie": f"other=1; chat_cell={self.cell}"}

    def call(self, method: str, path: str, *body: Any) -> Any:
        answer = self.client.request(method, path, *body, headers=self.headers())
        assert answer.status < 300, answer
        return answer.json

    def start(self) -> None:
        self.conversation = self.call("POST", "/api/conversations", {"title": "mine"})["id"]
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        if self._thread.ident is not None:
            self._thread.join(60)
        assert not self._thread.is_alive() and self.failures == []

    def wait_for_more(self, count: int = 3) -> None:
        wanted = len(self.answered) + count
        wait_until(lambda: len(self.answered) >= wanted or self.failures, "the user goes on chatting")

    def _run(self) -> None:
        number = 0
        try:
            while not self._is_over.is_set():
                number += 1
                while not self._ask(f"question {number}"):
                    self._is_over.wait(0.05)
                self.answered.append(f"question {number}")
                self._is_over.wait(PAUSE_S)
        except Exception as failure:
            self.failures.append(repr(failure))

    def _ask(self, question: str) -> bool:
        """Send a question, as examples/stream.py does. Return whether its reply came to its end."""
        headers = {**self.headers(), "Idempotency-Key": question.replace(" ", "-")}
        try:
            stream = self.client.send(self.conversation, question, headers=headers)
            if stream.status == 503:
                assert stream.headers["Retry-After"]
                self.refusals += 1
                stream.body()
                return False
            assert stream.status == 200, (stream.status, stream.body())
            return bool(stream.finish()["done"])
        except (OSError, http.client.HTTPException):
            return False


def move(cells: dict[str, tuple[str, int]], user: Chatter, old: str, new: str, archive: Path) -> None:
    """Move a user, as docs/operating.md says."""
    told = run_command(cells[old][0], "move_history", "--from", user.user_id, "--to-cell", str(archive), "--wait", "5")
    assert told.returncode == 0, told.stderr
    refused = user.refusals
    wait_until(lambda: user.refusals > refused or user.failures, "writes are refused meanwhile")
    for path, body in SENDS.items():
        answer = user.client.request("POST", path, body, headers=user.headers())
        assert answer.status == 503 and answer.headers["Retry-After"], (path, answer)
    restored = run_command(cells[new][0], "move_history", "--from-cell", str(archive))
    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout)["rows"] == json.loads(told.stdout)["rows"]
    user.cell = new
    user.wait_for_more()
    erased = run_command(cells[old][0], "move_history", "--from", user.user_id, "--erase-moved", "--yes")
    assert erased.returncode == 0, erased.stderr
    with psycopg.connect(cells[old][0]) as session:
        assert session.execute(ROWS_SQL, {"user": user.user_id}).fetchone() == (0,)
    user.wait_for_more()


def test_a_user_who_chats_all_the_time_is_moved_there_and_back(
    cells: dict[str, tuple[str, int]], nginx: Nginx, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        user = Chatter(nginx.port)
        other = Client(nginx.port, make_token())
        for client in (user.client, other):
            stack.callback(client.close)
        stack.callback(user.stop)
        _move_there_and_back(cells, user, other, tmp_path)


def _move_there_and_back(cells: dict[str, tuple[str, int]], user: Chatter, other: Client, tmp_path: Path) -> None:
    kept = other.create_conversation()
    user.start()
    user.call("PUT", "/api/me/instructions", {"instructions": "be brief"})
    user.wait_for_more()
    move(cells, user, "eu", "us", tmp_path / "there.jsonl.gz")
    move(cells, user, "us", "eu", tmp_path / "back.jsonl.gz")
    user.stop()
    with psycopg.connect(cells["eu"][0]) as session:
        messages = session.execute(MESSAGES_SQL, [user.conversation]).fetchall()
    questions = [content for role, content, _ in messages if role == "user"]
    assert questions == user.answered and len(set(questions)) == len(questions)
    assert [status for role, _, status in messages if role == "assistant"] == ["complete"] * len(questions)
    usage = user.call("GET", "/api/usage?days=2")["total"]
    assert (usage["messages"], usage["replies"]) == (len(questions), len(questions))
    assert user.call("GET", "/api/me/instructions")["instructions"] == "be brief"
    assert other.get(f"/api/conversations/{kept}")["id"] == kept


def test_a_new_user_goes_to_the_default_cell_and_staff_to_none(cells: dict[str, tuple[str, int]], nginx: Nginx) -> None:
    with contextlib.closing(Client(nginx.port, make_token())) as client:
        conversation = client.create_conversation()
        for cell, expected in (("eu", 200), ("us", 404), ("mars", 200)):
            answer = client.request("GET", f"/api/conversations/{conversation}", headers={"Cookie": f"chat_cell={cell}"})
            assert answer.status == expected
        assert client.request("GET", "/admin/").status == 404
