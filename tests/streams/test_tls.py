"""Services behind TLS, whose certificates a private authority signed."""

from collections.abc import Iterator

import pytest
import trustme

from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client
from tests.support.outcomes import assert_failed, assert_refused
from tests.support.server import Server
from tests.support.steps import done, endless, stall, tokens, wire
from tests.support.tls import TLSFront, write_authority
from tests.support.upstream import ScriptedUpstream


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def fronts(
    authority: trustme.CA, auth_of_session: ScriptedAuth, upstream_of_session: ScriptedUpstream
) -> Iterator[tuple[TLSFront, TLSFront]]:
    with TLSFront(authority, auth_of_session.url) as auth, TLSFront(authority, upstream_of_session.url) as inference:
        yield auth, inference


def server(fronts: tuple[TLSFront, TLSFront], database_url: str, **settings: str) -> Server:
    auth, inference = fronts
    return Server(database_url=database_url, auth_url=auth.url, upstream_url=inference.url, **settings)


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_authority(authority, tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def service(fronts: tuple[TLSFront, TLSFront], database_url: str, ca_file: str) -> Iterator[Server]:
    limits = {"INFERENCE_START_TIMEOUT": "1", "INFERENCE_IDLE_TIMEOUT": "1"}
    with server(fronts, database_url, TLS_CA_FILE=ca_file, **limits) as running:
        yield running


def test_tokens_replies_and_models_come_through_tls(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("so ", "it ", "goes"), done())
    stream = client.ask(conversation, "how")
    assert stream.text == "so it goes"
    assert client.get("/api/models")["current_model"] == "tiny"


def test_a_stop_closes_the_connection(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(endless("on "))
    stream = client.send(conversation, "talk")
    stream.read_until("on on ")
    assert client.stop(conversation).json["status"] == "stopped"
    assert stream.finish()["status"] == "stopped"
    upstream.generations()[0].wait_client_left()
    assert client.message(conversation, stream.message_id)["content"] == stream.text


def test_deadlines_hold(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(wire(b"HTTP/1.1 200 OK\r\nX-Slow: ", then=b"x"))
    assert_refused(client, conversation, client.send(conversation, "hello?"), status=504, code="upstream_timeout")
    upstream.script(tokens("half"), stall())
    other = client.create_conversation()
    assert_failed(client, other, client.send(other, "go on"), code="upstream_timeout", text="half")


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", pytest.param("REQUESTS_CA_BUNDLE", marks=pytest.mark.exhaustive)])
def test_the_usual_variables_work_for_both_services(
    fronts: tuple[TLSFront, TLSFront], database_url: str, ca_file: str, variable: str
) -> None:
    with server(fronts, database_url, **{variable: ca_file}) as running:
        user = Client(running.port, make_token())
        assert user.ask(user.create_conversation(), "hello").text == "hello"
        assert user.get("/api/models")["current_model"] == "tiny"
        user.close()


def test_an_unknown_authority_is_refused_by_both(
    fronts: tuple[TLSFront, TLSFront], database_url: str, auth_of_session: ScriptedAuth
) -> None:
    with server(fronts, database_url) as running:
        assert Client(running.port, make_token()).request("GET", "/api/conversations").status == 503
        assert [line["error"] for line in running.log_lines() if line["message"] == "TLS certificate rejected"]
    plain_auth = Server(database_url=database_url, auth_url=auth_of_session.url, upstream_url=fronts[1].url)
    with plain_auth as running:
        user = Client(running.port, make_token())
        assert user.request("GET", "/api/models").status == 503
        assert user.send(user.create_conversation(), "hello").status == 503
        user.close()


def test_a_certificate_for_another_name_is_refused(
    authority: trustme.CA, database_url: str, auth_of_session: ScriptedAuth, upstream_of_session: ScriptedUpstream, ca_file: str
) -> None:
    with (
        TLSFront(authority, upstream_of_session.url, name="elsewhere.example") as front,
        Server(database_url=database_url, auth_url=auth_of_session.url, upstream_url=front.url, TLS_CA_FILE=ca_file) as running,
    ):
        user = Client(running.port, make_token())
        assert user.send(user.create_conversation(), "hello").status == 503
        user.close()
