"""A stand-in for the inference service that says back what it was told, in the nanochat protocol.

For machines where the small real model can't be installed.
"""

import argparse
import json
import os
import re
import time
from typing import Any

from devstack.json_server import JSONHandler, serve

MAX_MESSAGE_CHARACTERS = 8_000
MAX_CONVERSATION_CHARACTERS = 32_000
MODEL_TAGS = ("echo", "echo-slow")


class EchoHandler(JSONHandler):
    current_model = "echo"

    def do_GET(self) -> None:
        if self.path != "/models":
            return self.answer(404, {"detail": "not found"})
        if not self.has_internal_key():
            return self.answer(403, {"detail": "wrong X-Internal-API-Key"})
        current = type(self).current_model
        models = [{"model_tag": tag, "source": "devstack", "path": "", "loaded": tag == current} for tag in MODEL_TAGS]
        return self.answer(200, {"current_model": current, "models": models})

    def do_POST(self) -> None:
        body = self.read_object()
        if not self.has_internal_key():
            return self.answer(403, {"detail": "wrong X-Internal-API-Key"})
        if self.path == "/models/swap":
            return self._swap(body)
        if self.path != "/generate":
            return self.answer(404, {"detail": "not found"})
        messages = (body or {}).get("messages")
        if problem := problem_with(messages):
            return self.answer(400, {"detail": problem})
        assert isinstance(messages, list)
        return self._stream(f"You said: {messages[-1]['content']}")

    def _swap(self, body: dict[str, Any] | None) -> None:
        tag = (body or {}).get("model_tag")
        if tag not in MODEL_TAGS:
            return self.answer(404, {"detail": "unknown model"})
        type(self).current_model = tag
        return self.answer(202, {"status": "loading", "current_model": tag})

    def _stream(self, reply: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        pause_s = 0.2 if type(self).current_model == "echo-slow" else 0.03
        for token in re.findall(r"\S+\s*", reply):
            self._send_event({"token": token, "gpu": 0})
            time.sleep(pause_s)
        self._send_event({"done": True})
        self.wfile.write(b"0\r\n\r\n")

    def _send_event(self, event: dict[str, Any]) -> None:
        encoded = b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"
        self.wfile.write(b"%x\r\n%b\r\n" % (len(encoded), encoded))


def problem_with(messages: Any) -> str:
    """Return what the inference service refuses in a request's messages, empty where it is fine."""
    if not isinstance(messages, list) or not messages:
        return "messages are required"
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            return "a message needs a role of user or assistant"
        content = message.get("content")
        if not isinstance(content, str) or not content:
            return "a message must not be empty"
        if len(content) > MAX_MESSAGE_CHARACTERS:
            return "a message is too long"
    if sum(len(message["content"]) for message in messages) > MAX_CONVERSATION_CHARACTERS:
        return "the conversation is too long"
    return ""


def main() -> None:
    """Serve on --port; the key comes from INTERNAL_API_KEY."""
    parser = argparse.ArgumentParser(prog="python -m devstack.echo_model", description="A model that echoes.")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    EchoHandler.internal_api_key = os.environ["INTERNAL_API_KEY"]
    serve(EchoHandler, port)


if __name__ == "__main__":
    main()
