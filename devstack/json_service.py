"""What the stand-in services share: JSON over HTTP/1.1 with keep-alive, protected by the internal key."""

import hmac
import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LONGEST_BODY = 1 << 20


class JsonServer(ThreadingHTTPServer):
    """One thread per connection. Open connections do not delay the end of the process."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, handler: type["JsonHandler"], *, internal_api_key: str, host: str = "127.0.0.1") -> None:
        super().__init__((host, port), handler)
        self.internal_api_key = internal_api_key

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class JsonHandler(BaseHTTPRequestHandler):
    """Answer requests with `answer`, which subclasses implement."""

    server: JsonServer
    protocol_version = "HTTP/1.1"
    # Send header and body in one write, without Nagle's delay: delayed acknowledgements would add 40 ms to an answer.
    wbufsize = -1
    disable_nagle_algorithm = True

    def answer(self, method: str, path: str, body: bytes) -> None:
        raise NotImplementedError

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def _handle(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > LONGEST_BODY or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # the start of the next request is unknown
            self.send_json(HTTPStatus.BAD_REQUEST, {"detail": "The body must have a Content-Length of at most 1 MiB."})
            return
        # Read the body even if the request is refused: the connection's next request follows it.
        body = self.rfile.read(int(length))
        path = self.path.partition("?")[0]
        if path == "/health":
            self.send_json(HTTPStatus.OK, {"status": "ok", "ready": True})
        elif not hmac.compare_digest(
            self.headers.get("X-Internal-API-Key", "").encode(), self.server.internal_api_key.encode()
        ):
            self.send_json(HTTPStatus.FORBIDDEN, {"detail": "X-Internal-API-Key is missing or wrong"})
        else:
            self.answer(self.command, path, body)

    def send_json(self, status: HTTPStatus, payload: dict[str, Any]) -> None:
        content = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def send_not_found(self) -> None:
        self.send_json(HTTPStatus.NOT_FOUND, {"detail": "Not Found"})

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # the base class names it
        print(self.log_date_time_string(), format % arguments, flush=True)


def read_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a body, or None if the body is anything else."""
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
