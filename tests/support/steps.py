"""The steps that make up an upstream's script.

Each works in the protocol of the request it answers: `token("a")` is nanochat's object on `/generate` and a delta on
`/v1/chat/completions`. A script without `die` or `hang_up` ends its response properly.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from .exchange import Exchange, Gate, HangUp

Step = Callable[[Exchange], None]


def token(text: str | None, **extra: Any) -> Step:
    """Send one token, with `extra` in the same object."""

    def step(exchange: Exchange) -> None:
        if exchange.protocol == "openai":
            body = {"id": "c1", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **extra}
        else:
            body = {"token": text, "gpu": 0, **extra}
        exchange.call.tokens_sent += 1
        exchange.write_event(json.dumps(body, ensure_ascii=False))

    return step


def tokens(*texts: str) -> Step:
    """Send several tokens, each in its own write."""

    def step(exchange: Exchange) -> None:
        for text in texts:
            token(text)(exchange)

    return step


def thought(text: str, field: str = "reasoning_content") -> Step:
    """Send a piece of reasoning, as servers with OpenAI's protocol do."""
    body = {"id": "c1", "choices": [{"index": 0, "delta": {"content": None, field: text}, "finish_reason": None}]}
    return event(json.dumps(body))


def thinking_until(gate: Gate, every_s: float = 0.02) -> Step:
    """Send pieces of reasoning until the gate opens."""

    def step(exchange: Exchange) -> None:
        while not gate.is_open:
            thought("Hm. ")(exchange)
            exchange.wait(timeout_s=every_s)

    return step


def done(*, usage: dict[str, int] | None = None, marker: bool = True) -> Step:
    """Send the protocol's regular end; for openai a finish reason, then the usage, then [DONE] if `marker`."""

    def step(exchange: Exchange) -> None:
        if exchange.protocol == "nanochat":
            exchange.write_event('{"done": true}')
            return
        exchange.write_event('{"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}')
        if usage:
            exchange.write_event(json.dumps({"id": "c1", "choices": [], "usage": usage}))
        if marker:
            exchange.write_event("[DONE]")

    return step


def event(payload: str) -> Step:
    """Send an event with this text as its data."""
    return lambda exchange: exchange.write_event(payload)


def raw(*pieces: bytes) -> Step:
    """Send these bytes of the body. Send each piece after the client has read the one before."""

    def step(exchange: Exchange) -> None:
        for piece in pieces:
            exchange.write(piece)
            exchange.wait_read()

    return step


def hold(gate: Gate) -> Step:
    """Wait at the gate. If this is the first step, the response's head waits too."""
    return lambda exchange: exchange.wait(gate)


def head() -> Step:
    """Send status and headers without a body yet."""
    return lambda exchange: exchange.send_head()


def stall() -> Step:
    """Send nothing more until the client leaves."""
    return lambda exchange: exchange.wait()


def endless(text: str, every_s: float = 0.02) -> Step:
    """Send this token repeatedly until the client leaves."""

    def step(exchange: Exchange) -> None:
        while True:
            token(text)(exchange)
            exchange.wait(timeout_s=every_s)

    return step


def wire(data: bytes, *, then: bytes = b"", every_s: float = 0.05) -> Step:
    """Send bytes without head and framing. Then send `then` repeatedly until the client leaves."""

    def step(exchange: Exchange) -> None:
        exchange.send_bytes(data)
        while then:
            exchange.wait(timeout_s=every_s)
            exchange.send_bytes(then)

    return step


def die() -> Step:
    """Reset the connection after the client has read everything sent so far."""

    def step(exchange: Exchange) -> None:
        exchange.wait_read()
        raise HangUp(reset=True)

    return step


def hang_up() -> Step:
    """Close the connection without ending the body."""

    def step(_: Exchange) -> None:
        raise HangUp

    return step


def respond(status: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Step:
    """Send a complete response that is not a stream."""

    def step(exchange: Exchange) -> None:
        exchange.complete = True
        fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        exchange.send_head(status, fields)
        exchange.send_bytes(body)

    return step


def unchunked() -> Step:
    """Use this first: the body ends when the connection closes, as with servers that do not chunk."""

    def step(exchange: Exchange) -> None:
        exchange.chunked = False

    return step


def crlf() -> Step:
    """End the following lines with CRLF."""

    def step(exchange: Exchange) -> None:
        exchange.newline = "\r\n"

    return step


def reply(words: Iterable[str]) -> tuple[Step, ...]:
    """Make the script of an ordinary reply of these tokens."""
    return (*(token(word) for word in words), done())
