"""Bodies of streamed answers, read from the socket, however they are framed and cut."""

import gzip
import http.client
import socket
import zlib
from collections.abc import Iterator

import pytest

from inference_proxy.upstream import body as body_module
from inference_proxy.upstream import inflating
from inference_proxy.upstream.body import MAX_FRAMING_BYTES, Body, BodyBroken, receive_with
from inference_proxy.upstream.posting import PooledResponse

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = b"4\r\nabcd\r\n1;name=value\r\ne\r\n0\r\nTrailer: x\r\n\r\n"


class Peer:
    """An answer whose head, and what follows it at once, come from a socket, and the rest in given pieces."""

    def __init__(self, early: bytes) -> None:
        self.service, ours = socket.socketpair()
        self.service.sendall(early)
        answer = http.client.HTTPResponse(ours)
        answer.begin()
        self.ours = ours
        connection = http.client.HTTPConnection("service")
        connection.sock = ours
        self.body = Body(PooledResponse(self, connection, answer))

    def _put_conn(self, connection: object) -> None:
        """Take a connection back, as a pool does."""

    def read_all(self, *pieces: bytes) -> bytes:
        """Read to the end of the body; the connection ends behind the pieces."""
        rest = iter([*pieces, b""])
        receive_with(lambda _sock, _size: next(rest))
        return b"".join(iter(self.body.read, b""))

    def close(self) -> None:
        self.body.close()
        self.ours.close()
        self.service.close()


@pytest.fixture(autouse=True)
def own_receive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "_receive_after_waiting", body_module._receive_after_waiting)


@pytest.fixture
def peers() -> Iterator[list[Peer]]:
    peers: list[Peer] = []
    yield peers
    for peer in peers:
        peer.close()


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
def test_a_chunked_body_may_be_cut_anywhere(peers: list[Peer], cut: int) -> None:
    peers.append(peer := Peer(CHUNKED))
    assert peer.read_all(WHOLE[:cut], WHOLE[cut:]) == b"abcde"
    assert peer.body.is_whole


@pytest.mark.parametrize("early", range(len(WHOLE)))
def test_what_came_with_the_head_is_read_first(peers: list[Peer], early: int) -> None:
    peers.append(peer := Peer(CHUNKED + WHOLE[:early]))
    assert peer.read_all(WHOLE[early:]) == b"abcde"


@pytest.mark.parametrize("end", range(len(WHOLE)))
def test_a_chunked_body_that_breaks_off_is_not_taken_for_whole(peers: list[Peer], end: int) -> None:
    peers.append(peer := Peer(CHUNKED))
    with pytest.raises(BodyBroken):
        peer.read_all(WHOLE[:end])
    assert not peer.body.is_whole


def test_a_body_of_a_known_length(peers: list[Peer]) -> None:
    peers.append(peer := Peer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"))
    assert peer.read_all(b"c", b"de and more") == b"abcde"
    assert peer.body.is_whole


def test_a_body_of_a_known_length_that_breaks_off(peers: list[Peer]) -> None:
    peers.append(peer := Peer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"))
    with pytest.raises(BodyBroken):
        peer.read_all(b"c")


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"])
def test_a_body_that_ends_with_its_connection(peers: list[Peer], head: bytes) -> None:
    peers.append(peer := Peer(head + b"ab"))
    assert peer.read_all(b"cde") == b"abcde"


@pytest.mark.parametrize("malformed", [b"zz\r\nabcd\r\n", b"4\r\nabcdef\r\n", b"-1\r\n\r\n"])
def test_malformed_framing_is_a_broken_body(peers: list[Peer], malformed: bytes) -> None:
    peers.append(peer := Peer(CHUNKED))
    with pytest.raises(BodyBroken):
        peer.read_all(malformed)


def test_framing_without_end_is_given_up(peers: list[Peer]) -> None:
    peers.append(peer := Peer(CHUNKED))
    with pytest.raises(BodyBroken):
        peer.read_all(b"1;" + b"x" * MAX_FRAMING_BYTES, b"\r\na\r\n0\r\n\r\n")


def test_an_end_that_has_arrived_is_read_when_the_body_is_closed(peers: list[Peer]) -> None:
    peers.append(peer := Peer(CHUNKED + b"4\r\nabcd\r\n"))
    assert peer.body.read() == b"abcd"
    peer.service.sendall(b"0\r\n\r\n")
    peer.body.close()
    assert peer.body.is_whole


def deflated(text: bytes, wbits: int) -> bytes:
    compressor = zlib.compressobj(wbits=wbits)
    return compressor.compress(text) + compressor.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        # Without the time, so that each process of a test run finds the same cases.
        (b"gzip", gzip.compress(b"abcde", mtime=0)),
        (b"X-GZIP", gzip.compress(b"abcde", mtime=0)),
        (b"gzip", gzip.compress(b"ab", mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(b"cde", mtime=0)),
        (b"gzip", gzip.compress(b"abcde", mtime=0) + bytes(512)),
        (b"deflate", deflated(b"abcde", 15)),
        (b"deflate", deflated(b"abcde", -15)),
    ],
    ids=["gzip", "x-gzip", "gzip in parts", "gzip and zeros", "zlib", "deflate"],
)
def test_a_compressed_body_is_inflated(peers: list[Peer], encoding: bytes, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (encoding, len(body))
    peers.append(peer := Peer(head))
    assert peer.read_all(*[body[at : at + 1] for at in range(len(body))]) == b"abcde"
    peers.append(peer := Peer(head))
    assert peer.read_all(body) == b"abcde"


def test_a_body_that_inflates_without_end_is_given_up(peers: list[Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflating, "MOST_BYTES", 1024 * 1024)
    body = gzip.compress(bytes(4 * 1024 * 1024))
    peers.append(peer := Peer(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)))
    with pytest.raises(inflating.InflatingFailed):
        peer.read_all(body)


@pytest.mark.parametrize("size", [b"4 ", b"4  \t"])
def test_white_space_after_a_chunk_s_size(peers: list[Peer], size: bytes) -> None:
    peers.append(peer := Peer(CHUNKED))
    assert peer.read_all(size.replace(b"\t", b" ") + b"\r\nabcd\r\n0\r\n\r\n") == b"abcd"


def test_what_came_before_malformed_framing_is_read_first(peers: list[Peer]) -> None:
    peers.append(peer := Peer(CHUNKED))
    receive_with(lambda _sock, _size: b"4\r\nabcd\r\nzz\r\n")
    assert peer.body.read() == b"abcd"
    with pytest.raises(BodyBroken):
        peer.body.read()
