"""The time that clients have for reading an answer; tests/streams/test_request_limits.py has them read too slowly."""

import io
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse, StreamingHttpResponse
from gunicorn.http.wsgi import FileWrapper

from chatapi.incoming import response_deadlines as answers
from chatapi.incoming.response_deadlines import TimelyResponses


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def answer_with(answer: Any, sock: socket.socket) -> Any:
    environ = {"gunicorn.socket": sock, "wsgi.file_wrapper": FileWrapper}
    return TimelyResponses(lambda environ, start_response: answer)(environ, None)


def test_a_longer_answer_may_take_longer(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = sockets
    limits = []
    for size in (0, 320 * 1024):
        answer = HttpResponse(b"x" * size)
        assert answer_with(answer, ours) is answer
        limits.append(ours.gettimeout())
    assert limits == [30, 40]


def test_each_write_of_a_stream_has_a_limit_and_the_whole_has_none(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = sockets
    answer_with(StreamingHttpResponse([b"x"]), ours)
    assert ours.gettimeout() == answers.STREAM_WRITE_LIMIT_S


def test_a_stream_that_chooses_its_limit_keeps_it(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = sockets
    ours.settimeout(3)  # of the answer before

    def application(environ: dict[str, Any], start_response: Any) -> StreamingHttpResponse:
        assert ours.gettimeout() is None
        ours.settimeout(7)
        return StreamingHttpResponse([b"x"])

    TimelyResponses(application)({"gunicorn.socket": ours, "wsgi.file_wrapper": FileWrapper}, None)
    assert ours.gettimeout() == 7


def test_a_file_that_is_not_read_in_time_ends_the_connection(
    sockets: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "FILE_LIMIT_S", 0.05)
    ours, theirs = sockets
    answer_with(FileWrapper(io.BytesIO(b"file")), ours)
    theirs.settimeout(30)
    assert theirs.recv(1) == b""


def test_a_file_that_was_read_leaves_the_connection_open(
    sockets: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "FILE_LIMIT_S", 0.05)
    ours, theirs = sockets
    file = io.BytesIO(b"file")
    answer_with(FileWrapper(file), ours).close()
    assert file.closed
    assert select.select([theirs], [], [], 0.5)[0] == []


def test_a_server_without_a_socket_is_left_alone() -> None:
    answer = HttpResponse(b"x")
    assert TimelyResponses(lambda environ, start_response: answer)({}, None) is answer
