"""A client that is slow, silent or too loud while it sends its request or reads its answer costs others nothing."""

import contextlib
import threading
from collections.abc import Iterator

import psycopg
import pytest

from chatapi.incoming.request_bodies import MOST_LONG_BODIES
from tests.conftest import StartServer
from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.raw import RawConnection
from tests.support.server import Server
from tests.support.waiting import wait_until

LIMIT = 256 * 1024
# One address may hold half of the places for long bodies that are free.
MOST_OF_ONE_ADDRESS = 5
# More than any other address takes.
MUCH_OF_A_LONG_BODY = 2 * LIMIT
# Far more than a client's own limit of the body, and than the buffers of sockets on the way.
MUCH = 20 * 1024 * 1024
MULTIPART = "multipart/form-data; boundary=part"


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    """One database connection for requests: a client that holds it is noticed by the next."""
    with new_server(DB_POOL_SIZE="1") as server:
        yield server


@pytest.fixture(scope="module")
def impatient(new_server: StartServer) -> Iterator[Server]:
    with new_server(arguments=("--keep-alive", "1"), application="tests.streams.impatient") as server:
        yield server


@pytest.fixture
def long_conversation(client: Client, conversation: str, database_url: str) -> str:
    """The id of a conversation whose history is longer than the buffers of sockets, which take almost 3 MB."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO messages (conversation_id, role, content)"
            " SELECT %s, 'user', repeat('x', 200000) FROM generate_series(1, 19)",
            [conversation],
        )
    return conversation


# --- Connections of the database ------------------------------------------------------------------------------------------


def test_readers_that_stop_reading_hold_no_database_connection(client: Client, long_conversation: str) -> None:
    for _ in range(3):
        stalled = client.open("GET", f"/api/conversations/{long_conversation}", receive_buffer=4096)
        assert stalled.status == 200
    assert client.request("GET", "/api/conversations").status == 200


def test_answers_that_are_not_read_do_not_pile_up(client: Client, long_conversation: str) -> None:
    path = f"/api/conversations/{long_conversation}"
    stalled = [client.open("GET", path, receive_buffer=4096) for _ in range(8)]
    assert {answer.status for answer in stalled} == {200}
    refused = client.request("GET", path)
    assert (refused.status, refused.json["code"]) == (429, "throttled")
    # Small answers are not concerned, and what is read or given up makes room.
    assert client.request("GET", "/api/conversations").status == 200
    stalled[0].close()
    wait_until(lambda: client.request("GET", path).status == 200, "there is room again")


def test_bodies_that_never_arrive_hold_no_database_connection(client: Client) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            # A token that nobody has used before: its user is noted in the database.
            silent = stack.enter_context(RawConnection(client.port))
            silent.send_head("POST", "/api/conversations", make_token(), Content_Length="100")
        assert client.request("GET", "/api/conversations").status == 200


# --- How much -------------------------------------------------------------------------------------------------------------


def test_long_bodies_wait_for_their_place_in_memory(client: Client) -> None:
    size = 8 * 1024 * 1024
    with contextlib.ExitStack() as stack:
        for _ in range(MOST_OF_ONE_ADDRESS):
            silent = stack.enter_context(RawConnection(client.port))
            silent.send_head("POST", "/api/v1/chat/stream", client.token, Content_Length=str(size))
            silent.send(b"x" * MUCH_OF_A_LONG_BODY)
        ordinary = client.open("POST", "/api/v1/chat/stream", {"session_id": "short", "message": "hi"})
        assert ordinary.status == 200
        ordinary.finish()
        refused = stack.enter_context(RawConnection(client.port))
        refused.send_head("POST", "/api/v1/chat/stream", client.token, Content_Length=str(size))
        refused.send(b"x" * MUCH_OF_A_LONG_BODY)
        status, headers, body = refused.answer()
        assert (status, body["code"], headers["Retry-After"]) == (429, "throttled", "5")
    # Their places are free again, and a body's own is, as soon as it has been parsed.
    history = [{"role": "user", "content": "x" * LIMIT}]
    for _ in range(MOST_LONG_BODIES + 1):
        body = {"session_id": "long", "message": "hi", "history": history}
        assert client.open("POST", "/api/v1/chat/stream", body).finish()["status"] == "complete"


def test_slow_long_bodies_give_up_their_place_to_others(client: Client) -> None:
    size = 8 * 1024 * 1024
    with contextlib.ExitStack() as stack:
        slow = [RawConnection(client.port, source=f"127.0.2.{number + 1}") for number in range(MOST_LONG_BODIES)]
        for each in slow:
            stack.enter_context(each)
            each.send_head("POST", "/api/v1/chat/stream", client.token, Content_Length=str(size))
            each.send(b"x" * (LIMIT + 1000))
            stack.enter_context(drip(each, b"x" * 100))
        # The places are all taken, and this one is as long, but fast.
        body = {"session_id": "fast", "message": "hi", "history": [{"role": "user", "content": "x" * LIMIT}]}
        # One may come before they count as slow. It waits for longer than they need for that.
        statuses = [client.request("POST", "/api/v1/chat/stream", body).status for _ in range(3)]
        assert sorted(statuses) in ([200, 200, 200], [200, 200, 429])
        ended = [each.answer() for each in slow]
        assert {(status, answer["code"]) for status, _, answer in ended} == {(408, "request_timeout")}


@pytest.mark.parametrize("path", ["/api/conversations", "/conversations", "/admin/login/", "/api/health", "/nothing"])
@pytest.mark.parametrize("content_type", ["application/json", MULTIPART, "application/x-www-form-urlencoded"])
def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(client: Client, path: str, content_type: str) -> None:
    with RawConnection(client.port) as loud:
        loud.send_head("POST", path, client.token, Content_Length=str(LIMIT + 1), Content_Type=content_type, Origin="http://x")
        status, headers, body = loud.answer()
        assert (status, body["code"]) == (413, "payload_too_large")
        assert (headers["Connection"], headers["Content-Type"]) == ("close", "application/json")
        assert headers["X-Trace-Id"]
        assert loud.is_closed()


@pytest.mark.parametrize("path", ["/api/conversations", "/admin/login/", "/nothing"])
def test_a_body_in_chunks_is_refused_when_it_is_too_large(client: Client, path: str) -> None:
    with RawConnection(client.port) as loud:
        loud.send_head("POST", path, client.token, Transfer_Encoding="chunked", Content_Type=MULTIPART)
        loud.send(b"%x\r\n" % (LIMIT + 1) + b"x" * (LIMIT + 1))  # and no end
        status, _, body = loud.answer()
        assert (status, body["code"]) == (413, "payload_too_large")


def test_a_client_that_sends_everything_first_reads_the_refusal(client: Client) -> None:
    with RawConnection(client.port) as loud:
        loud.send_head("POST", "/admin/login/", Content_Length=str(MUCH), Content_Type=MULTIPART)
        loud.send(b"x" * MUCH)
        status, _, body = loud.answer()
        assert (status, body["code"]) == (413, "payload_too_large")


def test_headers_are_limited_in_sum(client: Client) -> None:
    fields = {f"X-Field-{number}": "x" * 15_000 for number in range(3)}
    with RawConnection(client.port) as large:
        large.send_head("GET", "/api/conversations", client.token, **dict(list(fields.items())[:2]))
        status, _, _ = large.answer()
        assert status == 200
        # And they are refused before their end comes.
        large.send(b"GET /api/conversations HTTP/1.1\r\n")
        for name, value in fields.items():
            large.send(f"{name}: {value}\r\n".encode())
        assert b" 431 " in large.socket.recv(100)


def test_a_body_of_exactly_the_limit_is_read(client: Client) -> None:
    with RawConnection(client.port) as connection:
        connection.send_head("POST", "/api/conversations", client.token, Content_Length=str(LIMIT))
        connection.send(b'{"title": "short"}'.ljust(LIMIT))
        status, headers, body = connection.answer()
        assert (status, body["title"], headers["Connection"]) == (201, "short", "keep-alive")


# --- How long -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/conversations", "/admin/login/"])
@pytest.mark.parametrize("framing", [{"Content_Length": "1000"}, {"Transfer_Encoding": "chunked"}], ids=["length", "chunks"])
def test_a_body_that_trickles_ends_at_its_deadline(impatient: Server, path: str, framing: dict[str, str]) -> None:
    with RawConnection(impatient.port) as trickling:
        trickling.send_head("POST", path, make_token(), Content_Type="application/json", **framing)
        with drip(trickling, b"1\r\n \r\n" if "Transfer_Encoding" in framing else b" "):
            status, headers, body = trickling.answer()
        assert (status, body["code"], headers["Connection"]) == (408, "request_timeout", "close")


def test_headers_that_trickle_end_at_their_deadline(impatient: Server) -> None:
    with RawConnection(impatient.port) as trickling:
        trickling.send(b"GET /api/health HTTP/1.1\r\nX-Endless: ")
        with drip(trickling, b"x"):
            assert trickling.is_closed()


def test_an_answer_that_is_not_read_ends_at_its_deadline(impatient: Server, client: Client, long_conversation: str) -> None:
    visitor = client.at(impatient.port)
    logged = len(impatient.log_lines())
    stalled = visitor.open("GET", f"/api/conversations/{long_conversation}", receive_buffer=4096)
    expected = int(stalled.headers["Content-Length"])
    wait_until(lambda: "client too slow" in [line["message"] for line in impatient.log_lines()[logged:]], "it is given up")
    received = 0
    with contextlib.suppress(OSError):
        while data := stalled._response.read1(65536):
            received += len(data)
    assert 0 < received < expected
    assert not [line for line in impatient.log_lines()[logged:] if line["level"] == "ERROR"]


@contextlib.contextmanager
def drip(connection: RawConnection, piece: bytes) -> Iterator[None]:
    """Send a piece ten times a second for as long as the block lasts."""
    over = threading.Event()

    def send() -> None:
        with contextlib.suppress(OSError):
            while not over.wait(0.1):
                connection.send(piece)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
