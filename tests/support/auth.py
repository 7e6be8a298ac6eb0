"""A scripted auth service. Its tokens say whom they stand for: `user-<uuid>` or `admin-<uuid>`, then `.exp-<seconds>` if
they end before the default, then `.<nonce>` to tell tokens of one user apart."""

import json
import re
import threading
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = re.compile(r"(user|admin)-([0-9a-f-]{36})(?:\.exp-(\d+))?(?:\.\w+)?")
LIFETIME_S = 3600


def make_token(user_id: uuid.UUID | None = None, *, admin: bool = False, expires_at: int | None = None, nonce: str = "") -> str:
    """Make a token that the service accepts; `expires_at` in seconds since 1970."""
    token = f"{'admin' if admin else 'user'}-{user_id or uuid.uuid4()}"
    if expires_at is not None:
        token += f".exp-{expires_at}"
    return token + (f".{nonce}" if nonce else "")


@dataclass
class Validation:
    """One call of /auth/validate."""

    token: str
    headers: dict[str, str]  # names in lower case


class ScriptedAuth:
    """The service; a context manager that serves while it is open."""

    def __init__(self) -> None:
        self.calls: list[Validation] = []
        self._failure: tuple[int, bytes] | None = None
        self._hanging = threading.Event()
        self._hanging.set()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.auth = self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def fail(self, status: int, body: bytes = b"{}") -> None:
        """Answer everything with this status and body until `reset`."""
        self._failure = (status, body)

    def hang(self) -> None:
        """Answer nothing until `reset`."""
        self._hanging.clear()

    def reset(self) -> None:
        """Work again, and forget the calls."""
        self._failure = None
        self._hanging.set()
        self.calls.clear()

    def validate(self, call: Validation) -> tuple[int, bytes]:
        """Decide on a token: status and body of the answer."""
        self.calls.append(call)
        self._hanging.wait()
        if self._failure:
            return self._failure
        match = TOKEN.fullmatch(call.token)
        expires_at = int(match[3] or time.time() + LIFETIME_S) if match else 0
        if not match or expires_at <= time.time():
            return 401, json.dumps({"valid": False, "reason": "unknown or expired token"}).encode()
        user = {
            "id": match[2],
            "email": f"{match[2]}@example.test",
            "name": "A User",
            "is_admin": match[1] == "admin",
        }
        claims = {"sub": match[2], "exp": expires_at}
        return 200, json.dumps({"valid": True, "user": user, "claims": claims}).encode()

    def __enter__(self) -> "ScriptedAuth":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="auth", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    auth: ScriptedAuth
    daemon_threads = True
    block_on_close = False  # kept-alive connections would hold up the end
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that left."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        status, body = 404, b"{}"
        if self.path == "/auth/validate":
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, body = self.server.auth.validate(Validation(json.loads(content)["token"], headers))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""
