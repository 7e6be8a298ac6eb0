"""The two ways of docs/rolling-back.md from this version to the one before, and on to this one again."""

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devstack.folder import PROJECT
from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client
from tests.support.database import manage, migrated_database
from tests.support.older_version import VERSION_BEFORE, unpack
from tests.support.server import Server
from tests.support.steps import hold, tokens
from tests.support.upstream import ScriptedUpstream

pytestmark = pytest.mark.slow
PAGE = (PROJECT / "docs" / "rolling-back.md").read_text()


@pytest.fixture(scope="module")
def code_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(VERSION_BEFORE, tmp_path_factory.mktemp("before"))


@pytest.fixture
def user(auth_of_session: ScriptedAuth, upstream_of_session: ScriptedUpstream) -> Iterator[Client]:
    client = Client(0, make_token())
    yield client
    client.close()


class Versions:
    """Both versions on one database, one after the other."""

    def __init__(self, database_url: str, code_before: Path, auth: ScriptedAuth, upstream: ScriptedUpstream) -> None:
        self.database_url, self._before, self._auth, self._upstream = database_url, code_before, auth, upstream

    @contextmanager
    def before(self, user: Client) -> Iterator[Client]:
        with self._serve(self._before) as server:
            yield user.at(server.port)

    @contextmanager
    def now(self, user: Client) -> Iterator[Client]:
        with self._serve(PROJECT) as server:
            yield user.at(server.port)

    def migrate_with_the_code_before(self) -> None:
        environment = {
            "SECRET_KEY": "only-for-commands-long-enough-to-start-with",
            **os.environ,
            "DATABASE_URL": self.database_url,
        }
        command = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
        subprocess.run(command, cwd=self._before, env=environment, check=True)

    def _serve(self, folder: Path) -> Server:
        return Server(database_url=self.database_url, auth_url=self._auth.url, upstream_url=self._upstream.url, folder=folder)


@pytest.fixture
def versions(code_before: Path, auth_of_session: ScriptedAuth, upstream_of_session: ScriptedUpstream) -> Iterator[Versions]:
    with migrated_database() as url:
        yield Versions(url, code_before, auth_of_session, upstream_of_session)


def edit(user: Client, conversation: str, message: str, content: str) -> None:
    user.open("PUT", f"/api/conversations/{conversation}/messages/{message}", {"content": content}).finish()


def said(user: Client, conversation: str) -> list[tuple[str, str]]:
    """Return who said what on the active branch, oldest first."""
    return [(message["role"], message["content"]) for message in user.conversation(conversation)["messages"]]


def stop_a_reply(user: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    question = f"stop {uuid.uuid4()}"
    upstream.script(tokens("half"), hold(upstream.gate()), when=question)
    stream = user.send(conversation, question)
    stream.read_until("half")
    assert user.stop(conversation).status == 200
    assert stream.finish()["status"] == "stopped"


def use(user: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    """Do what users do: list, read, send, edit, regenerate, stop, rename, search."""
    earlier = said(user, conversation)
    assert conversation in [item["id"] for item in user.get("/api/conversations")["items"]]
    reply = user.ask(conversation, "a question to edit")
    question = next(message for message in reversed(user.messages(conversation)) if message["role"] == "user")
    edit(user, conversation, question["id"], "an edited question")
    assert said(user, conversation) == [*earlier, ("user", "an edited question"), ("assistant", "an edited question")]
    assert user.message(conversation, reply.message_id)["content"] == "a question to edit"
    user.regenerate(conversation).finish()
    stop_a_reply(user, conversation, upstream)
    assert said(user, conversation)[-1] == ("assistant", "half")
    assert user.request("PATCH", f"/api/conversations/{conversation}", {"title": "Renamed"}).status == 200
    other = user.create_conversation(title="Deleted")
    assert user.request("DELETE", f"/api/conversations/{other}").status == 204
    assert user.get("/api/search?q=edited")["items"]


def branch_off(user: Client, conversation: str) -> None:
    """Edit the first question of several, which 1.1.0 can't, and go on from there."""
    first = user.conversation(conversation)["messages"][0]
    edit(user, conversation, first["id"], "another beginning")
    user.ask(conversation, "and another end")
    assert [text for _, text in said(user, conversation)] == ["another beginning"] * 2 + ["and another end"] * 2


def test_the_version_before_serves_on_the_newer_tables(versions: Versions, user: Client, upstream: ScriptedUpstream) -> None:
    with versions.now(user) as now:
        conversation = now.create_conversation(title="Kept")
        use(now, conversation, upstream)
        branch_off(now, conversation)
        history = said(now, conversation)
    # Deployments run it before each start. It finds nothing to do.
    versions.migrate_with_the_code_before()
    with versions.before(user) as before:
        assert said(before, conversation) == history
        use(before, conversation, upstream)
        created = before.create_conversation()
        before.ask(created, "created by the version before")
        history = said(before, conversation)
        everything = before.messages(conversation)
    with versions.now(user) as now:
        assert said(now, conversation) == history
        assert [message["id"] for message in now.messages(conversation)] == [message["id"] for message in everything]
        assert said(now, created)[-1] == ("assistant", "created by the version before")
        use(now, conversation, upstream)
        use(now, created, upstream)


def test_the_version_before_serves_on_its_own_tables(versions: Versions, user: Client, upstream: ScriptedUpstream) -> None:
    ((target,),) = [
        command.split()[-1:] for command in re.findall(r"^ *\S+ manage.py (migrate conversations \d+)$", PAGE, re.MULTILINE)
    ]
    with versions.now(user) as now:
        conversation = now.create_conversation(title="Kept")
        use(now, conversation, upstream)
        branch_off(now, conversation)
        everything = now.messages(conversation)
        history = said(now, conversation)
    manage(versions.database_url, "migrate", "conversations", target, "--verbosity=0")
    with versions.before(user) as before:
        assert said(before, conversation) == history
        use(before, conversation, upstream)
        history = said(before, conversation)
        assert [message["id"] for message in before.messages(conversation)][: len(everything)] == [m["id"] for m in everything]
    manage(versions.database_url, "migrate", "--verbosity=0")
    with versions.now(user) as now:
        assert said(now, conversation) == history
        use(now, conversation, upstream)
