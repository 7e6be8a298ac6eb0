"""What a worker says at its start about the database that it has found."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from devstack.processes import free_port
from tests.support.client import Client
from tests.support.database import empty_database
from tests.support.server import Server
from tests.support.servers import StartServer
from tests.support.waiting import wait_until


@pytest.fixture
def starts_unready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers count as started as soon as they have said what they found."""
    monkeypatch.setattr(Server, "_is_ready_or_dead", lambda server: "conversations.readiness" in server.log)


def said(server: Server) -> list[dict[str, Any]]:
    def find() -> list[dict[str, Any]]:
        return [line for line in server.log_lines() if line["logger"] == "conversations.readiness"]

    return wait_until(find, "the worker has said what it found")


@contextmanager
def database_in_latin() -> Iterator[str]:
    with empty_database() as url:
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        with psycopg.connect(url.replace(f"/{name}", "/postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name}")
            connection.execute(
                f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
            )
        yield url


def test_what_was_found_is_one_line(new_server: StartServer) -> None:
    with new_server() as server:
        [line] = said(server)
    assert (line["level"], line["message"]) == ("INFO", "database found")
    assert (line["encoding"], line["isolation"], line["schema"]) == ("UTF8", "read committed", "public")
    assert line["postgresql"]


def test_an_encoding_that_loses_text_is_named(new_server: StartServer, starts_unready: None) -> None:
    with database_in_latin() as url, new_server(DATABASE_URL=url) as server:
        line = said(server)[0]
        answer = wait_until(lambda: server.log and Client(server.port, None).request("GET", "/api/ready"), "it answers")
    assert (line["level"], line["database"]) == ("ERROR", "encoding is SQL_ASCII, not UTF8")
    assert (answer.status, answer.json["checks"]["database"]) == (503, "encoding is SQL_ASCII, not UTF8")


def test_a_search_path_without_a_schema_is_named(new_server: StartServer, database_url: str, starts_unready: None) -> None:
    option = f"{'&' if '?' in database_url else '?'}options=-csearch_path%3Dabsent"
    with new_server(DATABASE_URL=database_url + option) as server:
        line = said(server)[0]
    assert line["database"] == "search_path names no schema that the role may use"


def test_a_database_that_is_away_is_named(new_server: StartServer, starts_unready: None) -> None:
    with new_server(DATABASE_URL=f"postgresql://nobody@127.0.0.1:{free_port()}/none") as server:
        line = said(server)[0]
    assert line["message"] == "database unreachable"
    assert "\n" not in line["error"]


@pytest.mark.parametrize(
    ("name", "found", "problem"),
    [
        ("default_transaction_isolation", "serializable", "default_transaction_isolation is serializable, not read committed"),
        ("DateStyle", "German, DMY", "DateStyle is German, DMY, not ISO, MDY"),
        ("DateStyle", "ISO, DMY", ""),
    ],
)
def test_a_setting_that_a_pooler_keeps_is_named(name: str, found: str, problem: str) -> None:
    from chatapi.database.server_parameters import FORMS
    from conversations.readiness import RELIED_ON, _problem_of

    settings = [{**FORMS, name: found}[each] for each in RELIED_ON]
    told = _problem_of("UTF8", "public", settings)
    assert told.startswith(problem) if problem else told == ""
