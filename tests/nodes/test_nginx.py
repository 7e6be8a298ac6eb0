"""deploy/nginx/chat-api.conf, with nodes that are only sockets."""

import gzip
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from chatapi.incoming.routes import paths_with_history
from devstack.processes import free_port
from tests.support.client import Client
from tests.support.nginx import MISSING, Nginx, find_nginx, running_nginx
from tests.support.parallel import at_once
from tests.support.raw import RawConnection
from tests.support.waiting import LIMIT_S, wait_until

pytestmark = pytest.mark.skipif(find_nginx() is None, reason=MISSING)
MESSAGE = "/api/conversations/0197f9c4-0000-7000-8000-000000000001/messages/0197f9c4-0000-7000-8000-000000000002"
ALLOWED_CONNECTIONS = 400


class Node:
    """A node that reads each request and answers with `answer`, or hangs up where there is none."""

    def __init__(self, answer: bytes = b"") -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                self.requests.append(sock.recv(1 << 20))
                sock.sendall(self._answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def answer_of(content_type: str, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (content_type.encode(), len(body), body)


@contextmanager
def nodes(*answers: bytes) -> Iterator[list[Node]]:
    with ExitStack() as stack:
        opened = [Node(answer) for answer in answers]
        for node in opened:
            stack.callback(node.close)
        yield opened


def test_nginx_accepts_the_configuration_without_a_warning(tmp_path_factory: pytest.TempPathFactory) -> None:
    checked = Nginx(tmp_path_factory.mktemp("nginx"), [8002, 8003]).check()
    assert (checked.returncode, "[warn]" in checked.stderr) == (0, False), checked.stderr


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_request_that_changes_something_is_never_sent_twice(method: str) -> None:
    with nodes(b"", b"") as (one, other), running_nginx(one.port, other.port) as nginx:
        answer = Client(nginx.port, "a-token").request(method, MESSAGE, {"content": "once"})
        assert len(one.requests + other.requests) == 1
        assert (answer.status, answer.json["code"], answer.headers["Retry-After"]) == (503, "unavailable", "1")


def test_a_request_that_only_reads_is_sent_to_the_other_node() -> None:
    with nodes(b"", b"") as (one, other), running_nginx(one.port, other.port) as nginx:
        assert Client(nginx.port, "a-token").request("GET", MESSAGE).status == 503
        assert (len(one.requests), len(other.requests)) == (1, 1)


SHORT_READS = [
    "/api/health",
    "/api/conversations",
    "/api/conversations/{}",
    "/api/conversations/{}/messages?limit=200",
    "/api/conversations/{}/messages/0197f9c4-0000-7000-8000-000000000002",
    "/api/search?q=stream",
    "/api/chat/{}",
    "/api/v1/chat/{}/history",
    "/conversations/{}/messages",
    "/v1/conversations/{}/items",
    "/v1/responses/{}",
]


def test_short_reads_and_then_sends_go_to_the_other_node_if_the_first_is_frozen() -> None:
    found = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    # Like a stopped process, it accepts connections in the kernel only.
    with socket.create_server(("127.0.0.1", 0), backlog=64) as frozen, nodes(found) as (node,):
        with running_nginx(frozen.getsockname()[1], node.port) as nginx:
            client = Client(nginx.port, "a-token")
            paths = [path.format(number) for path in SHORT_READS for number in range(4)]
            assert at_once(lambda number: client.request("GET", paths[number]).status, len(paths)) == [200] * len(paths)
            # The reads have shown that it is frozen, so it gets no sends.
            sends = [f"/api/conversations/{number}/messages" for number in range(10)]
            assert [client.request("POST", path, {"content": "hi"}).status for path in sends] == [200] * 10


def test_a_request_that_changes_something_is_refused_if_its_node_is_frozen() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as frozen, nodes(b"") as (node,):
        port = frozen.getsockname()[1]
        with running_nginx(port, port) as nginx:
            answer = Client(nginx.port, "a-token").request("POST", "/api/conversations", {})
        assert (answer.status, answer.json["code"], node.requests) == (503, "unavailable", [])


@pytest.mark.parametrize(
    ("method", "path", "headers", "kind"),
    [
        ("GET", "/api/conversations/1/messages/2/stream", {}, "stream"),
        ("GET", "/api/conversations/1/messages/2/stream?after=5", {}, "stream"),
        ("GET", "/api/chat/1/stream", {}, "stream"),
        ("GET", "/v1/responses/resp_1?stream=true", {}, "stream"),
        ("POST", MESSAGE, {"Accept": "text/event-stream"}, "stream"),
        # With `"stream": false` in its body, it would be silent until the end of its reply.
        ("POST", MESSAGE, {}, "other"),
        ("POST", MESSAGE, {"Accept": "application/json, text/event-stream"}, "other"),
        ("POST", "/api/chat", {}, "other"),
        ("GET", "/admin/conversations/", {}, "other"),
        ("GET", "/v1/responses/resp_1?stream=false", {}, "short"),
        ("HEAD", "/api/conversations", {}, "short"),
        ("POST", "/api/conversations", {}, "short"),
        ("POST", "/api/conversations/1/stop", {}, "change"),
        ("DELETE", "/api/conversations/1", {}, "change"),
        ("PUT", MESSAGE, {}, "edit"),
    ],
)
def test_nginx_tells_requests_apart(method: str, path: str, headers: dict[str, str], kind: str) -> None:
    with nodes(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n") as (node,):
        with running_nginx(node.port, node.port, add_headers={"X-Kind": "$chat_request"}) as nginx:
            answer = Client(nginx.port, "a-token").request(method, path, headers=headers)
    assert (answer.status, answer.headers["X-Kind"]) == (204, kind)


def test_a_send_goes_to_the_other_node_if_the_first_does_not_listen() -> None:
    created = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    with nodes(created) as (node,), running_nginx(free_port(), node.port) as nginx:
        client = Client(nginx.port, "a-token")
        for number in range(10):  # half of these conversations belong to the node that does not listen
            assert client.request("POST", f"/api/conversations/{number}/messages", {"content": "hi"}).status == 201
        assert len(node.requests) == 10


def test_the_service_s_errors_pass_through_unchanged() -> None:
    body = b'{"detail": "x", "code": "database_unavailable"}'
    head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Length: {len(body)}\r\nRetry-After: 7\r\nConnection: close\r\n\r\n"
    with nodes(head.encode() + body) as (one,), running_nginx(one.port, one.port) as nginx:
        answer = Client(nginx.port, "a-token").request("POST", MESSAGE, {})
        assert (answer.status, answer.content, answer.headers["Retry-After"]) == (503, body, "7")
        assert len(one.requests) == 1


def test_the_longest_token_reaches_the_service() -> None:
    with nodes(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n") as (node,):
        with running_nginx(node.port, node.port) as nginx:
            assert Client(nginx.port, "x" * 8192).request("GET", "/api/conversations").status == 204


@pytest.mark.parametrize(
    ("request_line", "header", "expected"),
    [
        ("GET /api/conversations HTTP/1.1", f"Cookie: {'x' * 20_000}", (431, "headers_too_large")),
        (f"GET /?{'x' * 20_000} HTTP/1.1", "X-One: 1", (414, "url_too_long")),
        ("nonsense", "X-One: 1", (400, "invalid")),
        ("GET /api/conversations HTTP/1.1", "Content-Length: many", (400, "invalid")),
    ],
    ids=["header", "URL", "nonsense", "length"],
)
def test_a_request_that_nginx_cannot_read_is_refused_in_the_service_s_form(
    request_line: str, header: str, expected: tuple[int, str]
) -> None:
    with nodes(b"") as (node,), running_nginx(node.port, node.port) as nginx, RawConnection(nginx.port) as connection:
        connection.send(f"{request_line}\r\nHost: here\r\n{header}\r\n\r\n".encode())
        status, headers, answer = connection.answer()
    assert (status, answer["code"], headers.get_content_type()) == (*expected, "application/json")


def test_a_body_over_the_service_s_limit_is_refused_in_the_service_s_form() -> None:
    with nodes(b"") as (node,), running_nginx(node.port, node.port) as nginx:
        answer = Client(nginx.port, "a-token").request("POST", MESSAGE, {"content": "x" * 256 * 1024})
        assert (answer.status, answer.json["code"], node.requests) == (413, "payload_too_large", [])


def test_bodies_with_history_may_be_as_long_as_the_service_allows(settings: Any) -> None:
    with nodes(b"") as (node,), running_nginx(node.port, node.port) as nginx:
        client = Client(nginx.port, "a-token")
        for path in paths_with_history():
            assert declare(nginx.port, path, settings.MAX_BODY_WITH_HISTORY) != 413
            assert declare(nginx.port, path, settings.MAX_BODY_WITH_HISTORY + 1) == 413
        assert declare(nginx.port, MESSAGE, settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1) == 413
        assert client.request("GET", "/metrics").status == 404


def declare(port: int, path: str, length: int) -> int:
    """Send the head of a request with a body of this length, and return the status of the answer."""
    with RawConnection(port) as connection:
        connection.send_head("POST", path, Content_Length=str(length))
        return connection.answer()[0]


def test_the_log_has_no_query_string() -> None:
    with nodes(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n") as (node,):
        with running_nginx(node.port, node.port) as nginx:
            assert Client(nginx.port, "a-token").request("GET", "/api/search?q=private").status == 204
            log = wait_until(lambda: nginx.access_log, "the request is logged")
    assert '"GET /api/search" 204' in log
    assert "private" not in log


def test_an_address_may_have_a_limited_number_of_connections() -> None:
    # It accepts connections in the kernel only, so every request waits.
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as silent, ExitStack() as stack:
        port = silent.getsockname()[1]
        nginx = stack.enter_context(running_nginx(port, port))
        connections = [stack.enter_context(RawConnection(nginx.port)) for _ in range(ALLOWED_CONNECTIONS + 1)]
        for connection in connections:
            connection.send_head("GET", "/api/usage")
        answered, _, _ = select.select([connection.socket for connection in connections], [], [], LIMIT_S)
        # nginx has two processes, so it is not always the last.
        (refused,) = (connection for connection in connections if connection.socket in answered)
        status, headers, body = refused.answer()
    assert (status, body["code"], headers["Retry-After"]) == (429, "throttled", "5")


def test_json_is_compressed_and_a_stream_is_not() -> None:
    body = b'{"items": [%b]}' % b", ".join([b'{"title": "tea"}'] * 200)
    asked = {"Accept-Encoding": "gzip"}
    with nodes(answer_of("application/json", body)) as (node,), running_nginx(node.port, node.port) as nginx:
        answer = Client(nginx.port, "a-token").request("GET", "/api/conversations", headers=asked)
        assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept-Encoding")
        assert gzip.decompress(answer.content) == body
        assert len(answer.content) < len(body) / 5
    with nodes(answer_of("text/event-stream", body)) as (node,), running_nginx(node.port, node.port) as nginx:
        answer = Client(nginx.port, "a-token").request("GET", f"{MESSAGE}/stream", headers=asked)
        assert ("Content-Encoding" in answer.headers, answer.content) == (False, body)
