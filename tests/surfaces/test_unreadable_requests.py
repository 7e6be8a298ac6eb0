"""Requests that the server can't read: the answers are JSON in the form of the surface, and pages may read them."""

import pytest

from tests.support.client import Client
from tests.support.raw import RawConnection
from tests.support.server import Server

GET = "GET {path} HTTP/1.1\r\nHost: here\r\nOrigin: {origin}\r\n"
CHUNKED = GET.replace("GET", "POST") + "Authorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
CASES = {
    "long header": (GET + "Cookie: " + "x" * 20_000 + "\r\n\r\n", 431, "headers_too_large"),
    "many headers": (GET + "".join(f"X-{number}: 1\r\n" for number in range(200)) + "\r\n", 431, "headers_too_large"),
    "header without a name": (GET + ": nothing\r\n\r\n", 400, "invalid"),
    "header with a space": (GET + "Bad Name: 1\r\n\r\n", 400, "invalid"),
    "bare line feed": (GET + "X-Line: 1\nX-Next: 2\r\n\r\n", 400, "invalid"),
    "unknown transfer coding": (GET + "Transfer-Encoding: folded\r\n\r\n", 501, "invalid"),
    "unknown expectation": (GET + "Expect: the-worst\r\n\r\n", 417, "invalid"),
    "bad length": (GET + "Content-Length: many\r\n\r\n", 400, "invalid"),
    "bad chunk": (CHUNKED + "nonsense\r\n", 400, "invalid"),
}
ORIGIN = "http://localhost:3000"


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("path", ["/api/conversations", "/v1/conversations"])
def test_the_answer_is_json_that_a_page_may_read(service: Server, client: Client, name: str, path: str) -> None:
    request, expected_status, code = CASES[name]
    with RawConnection(service.port) as connection:
        connection.send(request.format(path=path, origin=ORIGIN, token=client.token).encode())
        status, headers, answer = connection.answer()
    assert (status, headers.get_content_type()) == (expected_status, "application/json")
    assert (answer["error"] if path.startswith("/v1") else answer)["code"] == code
    assert (headers["Access-Control-Allow-Origin"], headers["Access-Control-Allow-Credentials"]) == (ORIGIN, "true")
    assert headers["X-Trace-Id"]
    assert headers["Connection"] == "close"


def test_an_origin_that_is_not_ours_may_not_read_it(service: Server) -> None:
    with RawConnection(service.port) as connection:
        connection.send((GET.format(path="/api/health", origin="https://elsewhere.example") + "Bad Name: 1\r\n\r\n").encode())
        status, headers, _ = connection.answer()
    assert (status, headers["Access-Control-Allow-Origin"]) == (400, None)


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        (f"GET /v1/models?{'x' * 9000} HTTP/1.1", 414),
        ("GET /v1/models HTTP/9.9", 400),
        ("nonsense", 400),
        ("\x16\x03\x01", 400),
        ("G@T http://[ HTTP/1.1", 400),
        ("GET /v1/mod els HTTP/1.1", 400),
    ],
    ids=["long", "version", "nonsense", "TLS", "method", "space"],
)
def test_a_request_line_that_is_none(service: Server, request_line: str, expected: int) -> None:
    with RawConnection(service.port) as connection:
        connection.send(f"{request_line}\r\nHost: here\r\n\r\n".encode("latin-1"))
        status, headers, answer = connection.answer()
    assert (status, headers.get_content_type()) == (expected, "application/json")
    assert ("error" in answer) == ("/v1/mod" in request_line)


def test_the_answer_and_the_log_repeat_nothing(service: Server) -> None:
    logged = len(service.log_lines())
    with RawConnection(service.port) as connection:
        connection.send(b"GET /api/conversations?q=secret-words HTTP/1.1\r\nHost: here\r\nsecret name: secret-value\r\n\r\n")
        assert "secret" not in str(connection.answer()[2])
    assert "secret" not in str(service.log_lines()[logged:])


def test_a_client_that_is_still_sending_sees_the_answer(service: Server) -> None:
    with RawConnection(service.port) as connection:
        connection.send(GET.format(path="/api/health", origin=ORIGIN).encode() + b"Cookie: " + b"x" * 3_000_000)
        assert connection.answer()[0] == 431
