"""Requests as bytes, for clients that send too much, too slowly, or only a part."""

import json
import socket
from http.client import HTTPMessage, HTTPResponse
from typing import Any

from .client import SILENCE_LIMIT_S


class RawConnection:
    """A connection on which a test writes what it wants; a context manager."""

    def __init__(self, port: int, receive_buffer: int | None = None, source: str = "127.0.0.1") -> None:
        self.socket = socket.socket()
        self.socket.settimeout(SILENCE_LIMIT_S)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", port))

    def __enter__(self) -> "RawConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_head(self, method: str, path: str, token: str | None = None, **headers: str) -> None:
        """Send the request line and the headers; underscores in names become hyphens."""
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
        if token is not None:
            lines.append(f"Authorization: Bearer {token}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def answer(self) -> tuple[int, HTTPMessage, Any]:
        """Wait for the answer and return its status, its headers and its JSON."""
        response = HTTPResponse(self.socket)
        response.begin()
        return response.status, response.headers, json.loads(response.read())

    def status(self) -> int:
        """Wait for the answer, read all of it and return its status."""
        response = HTTPResponse(self.socket)
        response.begin()
        response.read()
        return response.status

    def is_closed(self) -> bool:
        """Wait for the server to end the connection; fails where it says more."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True
