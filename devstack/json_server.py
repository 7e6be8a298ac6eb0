"""The little that the stand-in services share: JSON over HTTP/1.1 with keep-alive."""

import hmac
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class JSONHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without it, a small answer may wait 40 ms for an acknowledgement.
    disable_nagle_algorithm = True
    internal_api_key = ""

    def read_object(self) -> dict[str, Any] | None:
        """Return the request's JSON object, None where it has none. Reads the body in any case: keep-alive needs it read."""
        length = int(self.headers.get("Content-Length") or 0)
        try:
            body = json.loads(self.rfile.read(length))
        except ValueError:
            return None
        return body if isinstance(body, dict) else None

    def answer(self, status: int, body: dict[str, Any]) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def has_internal_key(self) -> bool:
        return hmac.compare_digest(self.headers.get("X-Internal-API-Key") or "", self.internal_api_key)

    def log_message(self, *_: Any) -> None:
        """Say nothing: requests hold tokens."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


def serve(handler: type[JSONHandler], port: int) -> None:
    Server(("127.0.0.1", port), handler).serve_forever()
