"""Calls to the services beside this one end, whatever those do."""

import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from chatapi.outgoing.connections import tls_context
from chatapi.outgoing.outbound import MAX_RESPONSE_BYTES, UnusableResponse, call_json, new_session
from tests.support.auth import ScriptedAuth
from tests.support.waiting import LIMIT_S


@pytest.fixture
def auth() -> Iterator[ScriptedAuth]:
    with ScriptedAuth() as scripted:
        yield scripted


@contextmanager
def one_answer(first: bytes, *, then_drip: bytes = b"") -> Iterator[str]:
    """Answer one connection with these bytes; then go on dripping, if asked, for as long as someone listens."""
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(LIMIT_S)

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            client.recv(65536)
            client.sendall(first)
            while then_drip and not ended.wait(0.02):
                try:
                    client.sendall(then_drip)
                except OSError:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        ended.set()
        thread.join(LIMIT_S)
        listener.close()


def call(url: str, deadline_s: float = LIMIT_S) -> tuple[int, dict[str, object]]:
    with new_session() as session:
        return call_json(session, "GET", url, headers={}, deadline_s=deadline_s)[:2]


@pytest.mark.parametrize("framing", [b"Content-Length: 14\r\n\r\n", b"Connection: close\r\n\r\n"])
def test_an_object(framing: bytes) -> None:
    with one_answer(b"HTTP/1.1 200 OK\r\n" + framing + b'{"valid":true}') as url:
        assert call(url) == (200, {"valid": True})


def test_an_answer_that_breaks_off_is_unusable() -> None:
    with one_answer(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"valid":true}') as url, pytest.raises(UnusableResponse):
        call(url)


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("first", "drip"),
    [
        (OK + b"Content-Length: 1000000\r\n\r\n", b" "),
        (OK + b"Connection: close\r\n\r\n", b" "),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5;", b"x"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Trailer: ", b"x"),
        (OK + b"X-Slow: ", b"x"),
        (OK, b"X-Many: x\r\n"),
        (b"HTTP/1.1 2", b"0"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
    ids=["length", "close", "chunk extension", "trailer", "header", "headers", "status line", "100", "103"],
)
def test_an_answer_that_drips_is_given_up_at_the_deadline(first: bytes, drip: bytes) -> None:
    results: list[object] = []

    def ask() -> None:
        try:
            results.append(call(url, deadline_s=0.3))
        except Exception as failure:
            results.append(failure)

    with one_answer(first, then_drip=drip) as url:
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(10)
        assert [type(result) for result in results] == [requests.ReadTimeout]


def test_a_handshake_that_drips_is_given_up_at_the_deadline() -> None:
    tls_context()  # reading the authorities takes time that is not the other side's
    # The beginning of a TLS record of 16 KiB that never becomes whole.
    with one_answer(b"\x16\x03\x03\x40\x00", then_drip=b"x") as url, pytest.raises(requests.ReadTimeout):
        call(url.replace("http:", "https:"), deadline_s=0.3)


def test_an_answer_that_the_deadline_cuts_off_is_not_taken_for_whole() -> None:
    # Closing the connection is how this answer ends; here it is the deadline that closes it.
    with (
        one_answer(OK + b'Connection: close\r\n\r\n{"valid":true}', then_drip=b" ") as url,
        pytest.raises(requests.ReadTimeout),
    ):
        call(url, deadline_s=0.3)


@pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_interim_answers_are_skipped(status: bytes) -> None:
    interim = b"HTTP/1.1 %b\r\nLink: </a>\r\n\r\n" % status
    with one_answer(interim * 2 + OK + b"Content-Length: 2\r\n\r\n{}") as url:
        assert call(url) == (200, {})


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000 + OK + b"\r\n",
        OK + b"X-Long: %b\r\n" % (b"x" * 10_000) * 7 + b"\r\n",
        OK + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
    ids=["interim answers", "headers", "header"],
)
def test_a_head_without_end_is_refused(head: bytes) -> None:
    with one_answer(head) as url, pytest.raises(requests.ConnectionError):
        call(url)


def test_a_connection_is_used_again(auth: ScriptedAuth) -> None:
    with new_session() as session:
        for _ in range(3):
            body = {"token": "unknown"}
            answer = call_json(session, "POST", f"{auth.url}/auth/validate", json=body, headers={}, deadline_s=LIMIT_S)
            assert answer[0] == 401
        pools = session.get_adapter(auth.url).poolmanager.pools  # type: ignore[attr-defined]
        assert [(pools[key].num_requests, pools[key].num_connections) for key in pools.keys()] == [(3, 1)]  # noqa: SIM118


def test_an_answer_that_never_comes_is_a_timeout() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, pytest.raises(requests.Timeout):
        call(f"http://127.0.0.1:{listener.getsockname()[1]}/", deadline_s=0.1)


def test_an_endless_answer_is_capped() -> None:
    chunk = b" " * 65536
    with (
        one_answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + chunk * (MAX_RESPONSE_BYTES // len(chunk) + 1)) as url,
        pytest.raises(UnusableResponse),
    ):
        call(url)


def test_an_error_without_json_is_an_empty_object() -> None:
    with one_answer(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>") as url:
        assert call(url) == (502, {})


def test_cookies_are_refused_and_redirects_not_followed() -> None:
    session = new_session()
    with (
        session,
        one_answer(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\n{}") as url,
    ):
        assert call_json(session, "GET", url, headers={}, deadline_s=LIMIT_S)[:2] == (302, {})
        assert list(session.cookies) == []


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (b'\xef\xbb\xbf{"valid":true}', {"valid": True}),
        (b'{"name":"a\\ud83d"}', {"name": "a\ufffd\ufffd\ufffd"}),
        (b'{"name":"a\xff"}', {"name": "a\ufffd"}),
        (b'{"score":NaN,"most":1e999,"valid":true}', {"score": None, "most": None, "valid": True}),
        (b'[{"id":"small"}]', {"data": [{"id": "small"}]}),
        ('{"name":"\u00e9"}'.encode("utf-16"), {"name": "\u00e9"}),
        ('{"valid":true}'.encode("utf-16-le"), {"valid": True}),
    ],
)
def test_json_is_read_as_others_write_it(body: bytes, read: dict[str, object]) -> None:
    with one_answer(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as url:
        assert call(url) == (201, read)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """They would see tokens and keys. Nobody listens at this one."""
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with one_answer(b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"valid":true}') as url:
        assert call(url) == (200, {"valid": True})


def test_a_compressed_answer_is_read() -> None:
    body = gzip.compress(b'{"valid":true}')
    with one_answer(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as url:
        assert call(url) == (200, {"valid": True})


def test_a_compressed_answer_is_capped_by_what_it_holds() -> None:
    body = gzip.compress(b" " * (MAX_RESPONSE_BYTES + 1))
    with one_answer(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as url:
        with pytest.raises(UnusableResponse):
            call(url)
