"""The inference service of the benchmarks and the clients that count its tokens."""

import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from benchmarks.contenders import Contender, metronome
from benchmarks.load import Streams, run_streams


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with metronome() as (port, _):
        yield port


def test_a_reply_has_the_tokens_that_were_asked_for(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port)
    for tokens in (3, 1):  # one connection serves several
        connection.request("POST", "/generate", json.dumps({"messages": [], "max_tokens": tokens, "top_k": 200}))
        body = connection.getresponse().read()
        events = [json.loads(line.removeprefix(b"data: ")) for line in body.splitlines() if line]
        assert events == [{"token": f" word{number}", "gpu": 0} for number in range(tokens)] + [{"done": True}]
    connection.close()


def test_all_tokens_of_all_streams_are_counted(port: int) -> None:
    relay = Contender("relay", port, [])
    samples: list[int] = []
    streams = run_streams(port, relay.requests(30, 20, 200), 20, sample=lambda: samples.append(1))
    assert (len(streams.readers), streams.refused) == (30, 0)
    assert [reader.tokens for reader in streams.readers] == [21] * 30
    assert streams.first_token_s(50) > 0
    assert streams.texts_per_s(50) > 1
    assert samples


def test_a_stream_that_is_cut_off_is_broken() -> None:
    answer = b'HTTP/1.1 200 OK\r\n\r\ndata: {"token": "a"}\n\n'
    streams = run_against(answer)
    assert (len(streams.broken), streams.refused) == (1, 0)


def test_a_refusal_is_not_a_stream() -> None:
    refusal = run_against(b'HTTP/1.1 503 Service Unavailable\r\n\r\n{"code": "busy"}')
    assert (refusal.refused, refusal.broken) == (1, [])
    assert refusal.last_words().endswith(b'{"code": "busy"}')


def run_against(answer: bytes) -> Streams:
    """Run one stream of one token against a server that says this and closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(65536)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        streams = run_streams(listener.getsockname()[1], [b"GET / HTTP/1.1\r\n\r\n"], 1)
        thread.join()
    return streams
