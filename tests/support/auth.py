"""A scripted auth service.

Its tokens name their user: `user-<uuid>` or `admin-<uuid>`, then `.exp-<seconds>` if they do not end at the default time, then
`.<nonce>` to distinguish tokens of one user.
"""

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


def answer_for(token: str) -> tuple[int, dict[str, Any]]:
    """Return the status and the body that the auth service answers for a token."""
    match = TOKEN.fullmatch(token)
    expires_at = int(match[3] or time.time() + LIFETIME_S) if match else 0
    if not match or expires_at <= time.time():
        return 401, {"valid": False, "reason": "unknown or expired token"}
    user = {"id": match[2], "email": f"{match[2]}@example.test", "name": "A User", "is_admin": match[1] == "admin"}
    return 200, {"valid": True, "user": user, "claims": {"sub": match[2], "exp": expires_at}}


@dataclass
class Validation:
    """One call of /auth/validate."""

    token: str
    headers: dict[str, str]  # names in lower case


class ScriptedAuth:
    """The service. A context manager that serves while it is open."""

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
        """Answer every call with this status and body until `reset`."""
        self._failure = (status, body)

    def hang(self) -> None:
        """Answer no call until `reset`."""
        self._hanging.clear()

    def reset(self) -> None:
        """Work again, and forget the calls."""
        self._failure = None
        self._hanging.set()
        self.calls.clear()

    def validate(self, call: Validation) -> tuple[int, bytes]:
        """Record a call and return the status and the body of its answer."""
        self.calls.append(call)
        self._hanging.wait()
        if self._failure:
            return self._failure
        status, answer = answer_for(call.token)
        return status, json.dumps(answer).encode()

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
        """Do not report clients that have left."""


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
