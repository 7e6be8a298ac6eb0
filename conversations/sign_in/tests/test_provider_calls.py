"""Calls to the provider: what it may do wrong, how long it may take, and what is held meanwhile."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests
import responses
from django.db import connection
from django.test import Client

from conversations.sign_in import provider as calls
from conversations.sign_in.provider_pages import MOST_AT_ONCE, permits

from .scripted_provider import CALLBACK, ISSUER, START, Provider

WELL_KNOWN = f"{ISSUER}/.well-known/openid-configuration"
UNAVAILABLE = "does not answer as it should"


def assert_unavailable(answer: Any) -> None:
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) > 0
    assert UNAVAILABLE in answer.content.decode()
    assert "example.com" not in answer.content.decode().replace("ada@example.com", "")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "answer",
    [
        {"body": requests.ConnectionError()},
        {"body": requests.ReadTimeout()},
        {"status": 500, "json": {}},
        {"status": 302, "headers": {"Location": "https://evil.example/"}},
        {"body": b"<html>"},
        {"body": b""},
        {"body": b"{" * 100_000},
        {"json": []},
        {"json": {"issuer": ISSUER}},
        {"body": b'{"x": "' + b"x" * (5 * 1024 * 1024) + b'"}'},
    ],
    ids=["unreachable", "silent", "500", "redirect", "HTML", "nothing", "depth", "list", "half", "endless"],
)
def test_a_provider_that_fails_is_said(client: Client, single_sign_on: Any, outbound: Any, answer: dict[str, Any]) -> None:
    outbound.add(responses.GET, WELL_KNOWN, **answer)
    assert_unavailable(client.get(START))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://evil.example.com"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": "http://id.example.com/token"},
        {"jwks_uri": None},
        {"jwks_uri": 7},
        {"token_endpoint": "https://[::1"},
    ],
    ids=str,
)
def test_metadata_must_be_of_this_issuer_and_encrypted(client: Client, provider: Provider, wrong: dict[str, Any]) -> None:
    provider.metadata |= wrong
    assert_unavailable(client.get(START))


@pytest.mark.django_db
@pytest.mark.parametrize(("status", "seen"), [(400, 403), (401, 403), (500, 503), (302, 503), (204, 503)])
def test_a_code_that_is_not_taken(client: Client, provider: Provider, status: int, seen: int) -> None:
    provider.token_status = status
    assert provider.come_back(client).status_code == seen
    assert client.get("/admin/").status_code == 302


@pytest.mark.django_db
def test_metadata_and_keys_are_remembered(provider: Provider) -> None:
    for _ in range(3):
        assert provider.come_back(Client()).status_code == 302
    assert (provider.paths().count("/.well-known/openid-configuration"), provider.paths().count("/keys")) == (1, 1)


@pytest.mark.django_db
def test_older_metadata_serves_while_the_provider_is_away(
    client: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.begin(Client())
    monkeypatch.setattr(calls, "KEPT_S", 0.0)
    provider.metadata = {}
    provider.begin(client)


@pytest.mark.django_db
@pytest.mark.parametrize("methods", [["client_secret_post"], ["client_secret_post", "private_key_jwt"]])
def test_the_secret_goes_the_way_that_the_provider_takes(client: Client, provider: Provider, methods: list[str]) -> None:
    provider.metadata["token_endpoint_auth_methods_supported"] = methods
    assert provider.come_back(client).status_code == 302
    assert provider.sent_form()["client_secret"] == "only-for-tests: of the client"


@pytest.mark.django_db
def test_secrets_are_logged_nowhere(client: Client, provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    provider.claims["aud"] = "another"
    provider.come_back(client)
    assert "of the client" not in caplog.text
    assert provider.make_token().split(".")[1] not in caplog.text
    (refused,) = [record for record in caplog.records if record.getMessage() == "staff single sign-on refused"]
    assert (refused.why, refused.address) == ("InvalidAudienceError", "127.0.0.1")


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_the_provider_is_asked(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Any] = []
    real = requests.Session.request

    def request(session: requests.Session, *arguments: Any, **options: Any) -> Any:
        held.append(connection.connection)
        return real(session, *arguments, **options)

    monkeypatch.setattr(requests.Session, "request", request)
    assert provider.come_back(Client()).status_code == 302
    assert held == [None, None, None]


@pytest.mark.django_db
def test_a_hanging_provider_keeps_no_password_waiting(client: Client, provider: Provider) -> None:
    provider.begin(Client())
    with ExitStack() as others:
        for _ in range(MOST_AT_ONCE):
            others.enter_context(permits.acquire())
        refused = client.get(CALLBACK, {"code": "a", "state": "b"})
        assert (refused.status_code, int(refused["Retry-After"]) > 0) == (503, True)
        assert client.post("/admin/login/", {"username": "sue", "password": "wrong"}).status_code == 200


class Dripping:
    """A server that sends its answer one byte at a time, for ever."""

    def __init__(self, beginning: bytes) -> None:
        self._beginning = beginning
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._is_over = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            connected, _ = self._listener.accept()
            with connected:
                connected.sendall(self._beginning)
                while not self._is_over.wait(0.02):
                    connected.sendall(b"x")
        except OSError:
            pass

    def close(self) -> None:
        self._is_over.set()
        self._listener.close()


@pytest.fixture(params=[b"", b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
def dripping(request: pytest.FixtureRequest) -> Iterator[Dripping]:
    server = Dripping(request.param)
    yield server
    server.close()


@pytest.mark.django_db
def test_one_deadline_covers_headers_and_body(
    client: Client, single_sign_on: Any, dripping: Dripping, monkeypatch: pytest.MonkeyPatch
) -> None:
    single_sign_on.ADMIN_OIDC_ISSUER = f"http://127.0.0.1:{dripping.port}"
    monkeypatch.setattr(calls.Budget.__init__, "__defaults__", (0.5,))
    # Without the deadline, it would never end.
    assert_unavailable(client.get(START))
