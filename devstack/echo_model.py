"""A scripted inference service that echoes, in the nanochat protocol: `python -m devstack.echo_model --port 8000`."""

import argparse
import json
import os
import re
import time
from http import HTTPStatus
from typing import Any

from devstack.folder import devstack_folder, keys_in
from devstack.json_service import JsonHandler, JsonServer, read_object

LONGEST_MESSAGE = 8_000
LONGEST_CONVERSATION = 32_000
LIMITS = {"temperature": (0, 2), "max_tokens": (1, 4096), "top_k": (0, 200)}


class EchoServer(JsonServer):
    def __init__(
        self,
        port: int,
        *,
        internal_api_key: str,
        token_delay_s: float = 0.03,
        loaded: bool = True,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(port, EchoHandler, internal_api_key=internal_api_key, host=host)
        self.token_delay_s = token_delay_s
        self.model_tags = ["echo", "echo-large"]
        self.current_model = self.model_tags[0] if loaded else None


class EchoHandler(JsonHandler):
    """`POST /generate`, `GET /models`, `POST /models/swap`."""

    server: EchoServer

    def answer(self, method: str, path: str, body: bytes) -> None:
        match method, path:
            case "POST", "/generate":
                self._generate(read_object(body))
            case "GET", "/models":
                self._list_models()
            case "POST", "/models/swap":
                self._swap_model(read_object(body))
            case _:
                self.send_not_found()

    def _generate(self, request: dict[str, Any] | None) -> None:
        problem = problem_of(request)
        if request is None or problem:
            self.send_json(HTTPStatus.BAD_REQUEST, {"detail": problem})
        elif self.server.current_model is None:
            self.send_json(HTTPStatus.SERVICE_UNAVAILABLE, {"detail": "No model is loaded."})
        else:
            said = next((message["content"] for message in reversed(request["messages"]) if message["role"] == "user"), "")
            self._stream(re.findall(r"\s*\S+", f"You said: {said}")[: request.get("max_tokens", 4096)])

    def _stream(self, tokens: list[str]) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        try:
            for token in tokens:
                time.sleep(self.server.token_delay_s)
                self._send_event({"token": token, "gpu": 0})
            self._send_event({"done": True})
            self.wfile.write(b"0\r\n\r\n")
        except OSError:  # the client left: stop generating
            self.close_connection = True

    def _send_event(self, event: dict[str, Any]) -> None:
        frame = f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(frame), frame))
        self.wfile.flush()

    def _list_models(self) -> None:
        current = self.server.current_model
        models = [
            {"model_tag": tag, "source": "scripted", "path": f"devstack/{tag}", "loaded": tag == current}
            for tag in self.server.model_tags
        ]
        self.send_json(HTTPStatus.OK, {"current_model": current, "models": models})

    def _swap_model(self, request: dict[str, Any] | None) -> None:
        tag = (request or {}).get("model_tag")
        if tag not in self.server.model_tags:
            self.send_json(
                HTTPStatus.BAD_REQUEST, {"detail": f"Unknown model. The models are {', '.join(self.server.model_tags)}."}
            )
            return
        self.server.current_model = tag
        self.send_json(HTTPStatus.ACCEPTED, {"status": "swapping", "current_model": tag})


def problem_of(request: dict[str, Any] | None) -> str:
    """Return what is wrong with the body of a /generate request, or ""."""
    messages = (request or {}).get("messages")
    if request is None or not isinstance(messages, list) or not messages:
        return "messages must be a non-empty list"
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            return "every message needs the role user or assistant"
        content = message.get("content")
        if not isinstance(content, str) or not content:
            return "messages must not be empty"
        if len(content) > LONGEST_MESSAGE:
            return f"a message can have at most {LONGEST_MESSAGE} characters"
    if sum(len(message["content"]) for message in messages) > LONGEST_CONVERSATION:
        return f"a conversation can have at most {LONGEST_CONVERSATION} characters"
    for name, (least, most) in LIMITS.items():
        value = request.get(name, least)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            return f"{name} must be from {least} to {most}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m devstack.echo_model", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: 127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    parser.add_argument("--token-delay", type=float, default=0.03, metavar="SECONDS", help="default: 0.03")
    arguments = parser.parse_args()
    key = os.environ.get("INTERNAL_API_KEY") or keys_in(devstack_folder()).internal_api_key
    server = EchoServer(arguments.port, internal_api_key=key, token_delay_s=arguments.token_delay, host=arguments.host)
    server.serve_forever()


if __name__ == "__main__":
    main()
