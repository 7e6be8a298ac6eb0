"""The stand-in auth service over real HTTP."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import jwt
import pytest
import requests

from devstack.auth_service import AuthServer
from devstack.folder import PROJECT
from devstack.token import ADMIN_USER, ORDINARY_USER, TokenIssuer, user_with_id

SIGNING_KEY = "a-signing-key-of-the-tests-that-is-long-enough"
KEY = {"X-Internal-API-Key": "internal"}


@pytest.fixture(scope="module")
def server() -> Iterator[AuthServer]:
    with AuthServer(0, signing_key=SIGNING_KEY, internal_api_key="internal") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def issuer() -> TokenIssuer:
    return TokenIssuer(SIGNING_KEY)


def validate(server: AuthServer, token: str) -> requests.Response:
    return requests.post(f"{server.url}/auth/validate", json={"token": token}, headers=KEY, timeout=5)


def test_valid_token_names_its_user(server: AuthServer, issuer: TokenIssuer) -> None:
    answer = validate(server, issuer.mint(ORDINARY_USER, expires_in_s=60))
    assert answer.status_code == 200
    body = answer.json()
    assert body["valid"] is True
    assert body["user"] == {"id": ORDINARY_USER.id, "email": "asha@example.org", "name": "Asha Rao", "is_admin": False}
    assert body["claims"]["exp"] == body["claims"]["iat"] + 60


def test_admin_is_an_admin(server: AuthServer, issuer: TokenIssuer) -> None:
    assert validate(server, issuer.mint(ADMIN_USER)).json()["user"]["is_admin"] is True


def test_user_of_any_id(server: AuthServer, issuer: TokenIssuer) -> None:
    user_id = "6f0cbbd4-4d1c-4f60-8d9e-0d6f3d0f3a11"
    user = validate(server, issuer.mint(user_with_id(user_id, is_admin=False))).json()["user"]
    assert user["id"] == user_id
    assert user["email"] == f"{user_id}@example.org"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (TokenIssuer(SIGNING_KEY).mint(ORDINARY_USER, expires_in_s=-1), "token expired"),
        (TokenIssuer(SIGNING_KEY + "x").mint(ORDINARY_USER), "invalid signature"),
        ("no-jwt", "malformed token"),
        ("", "malformed token"),
        (jwt.encode({"sub": "x"}, SIGNING_KEY, "HS256"), "invalid claims"),
        (jwt.encode({"sub": "x", "exp": 9e9, "iss": "devstack"}, SIGNING_KEY, "HS256"), "invalid claims"),
    ],
)
def test_refused_token_gets_the_reason(server: AuthServer, token: str, reason: str) -> None:
    answer = validate(server, token)
    assert answer.status_code == 401
    assert answer.json() == {"valid": False, "reason": reason}


@pytest.mark.parametrize("headers", [{}, {"X-Internal-API-Key": "wrong"}])
def test_wrong_internal_key_is_403(server: AuthServer, issuer: TokenIssuer, headers: dict[str, str]) -> None:
    body = {"token": issuer.mint(ORDINARY_USER)}
    assert requests.post(f"{server.url}/auth/validate", json=body, headers=headers, timeout=5).status_code == 403


@pytest.mark.parametrize("body", [b"", b"rubbish", b"[]", b"{}", b'{"token": 7}', b"\xff"])
def test_rubbish_is_400(server: AuthServer, body: bytes) -> None:
    assert requests.post(f"{server.url}/auth/validate", data=body, headers=KEY, timeout=5).status_code == 400


def test_connection_is_kept_after_every_answer(server: AuthServer, issuer: TokenIssuer) -> None:
    body = json.dumps({"token": issuer.mint(ORDINARY_USER)})
    with closing(HTTPConnection("127.0.0.1", server.server_port, timeout=5)) as connection:
        connection.connect()
        first_socket = connection.sock
        for headers, status in ((KEY, 200), ({}, 403), (KEY, 200)):
            connection.request("POST", "/auth/validate", body, headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
            assert connection.sock is first_socket


def test_command_line_prints_a_token_only(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVSTACK_DIR", str(tmp_path))
    command = [sys.executable, "-m", "devstack.token", "--admin", "--expires-in", "5"]
    printed = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    claims = jwt.decode(printed.strip(), options={"verify_signature": False})
    assert claims["sub"] == ADMIN_USER.id
    assert claims["exp"] - claims["iat"] == 5
