"""Traces go through the service, and what is sent to OpenTelemetry and Sentry holds no words and no tokens."""

import http.client
import json
from typing import Any

import pytest

from devstack.processes import free_port
from tests.conftest import StartServer
from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client
from tests.support.collector import Collector
from tests.support.server import INTERNAL_API_KEY, Server
from tests.support.steps import done, event, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"  # pragma: allowlist secret
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


def test_a_traceparent_goes_to_both_services_and_into_the_log(
    client: Client, service: Server, conversation: str, auth: ScriptedAuth, upstream: ScriptedUpstream
) -> None:
    # A new token, which the service has to ask about.
    stranger = Client(service.port, make_token())
    stranger.request("GET", "/api/conversations", headers={"traceparent": TRACEPARENT})
    stranger.close()
    client.send(conversation, "hello", headers={"traceparent": TRACEPARENT}).finish()
    for call in (auth.calls[-1], upstream.wait_call("hello")):
        assert (call.headers["traceparent"], call.headers["x-trace-id"]) == (TRACEPARENT, TRACE)
    wait_until(lambda: [line for line in service.log_lines() if line.get("trace_id") == TRACE], "the trace id is in the log")


def test_the_own_header_names_the_trace_where_both_are_sent(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    headers = {"traceparent": TRACEPARENT, "X-Trace-Id": "my-own", "X-Request-Id": "a-proxys"}
    assert client.send(conversation, "hello both", headers=headers).headers["X-Trace-Id"] == "my-own"
    call = upstream.wait_call("hello both")
    assert (call.headers["traceparent"], call.headers["x-trace-id"]) == (TRACEPARENT, "my-own")
    # Of two that are not our own, the client's comes before the proxy's.
    del headers["X-Trace-Id"]
    assert client.request("GET", "/api/conversations", headers=headers).headers["X-Trace-Id"] == TRACE


@pytest.mark.parametrize(
    "malformed",
    [
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}",
        "",
    ],
)
def test_a_malformed_traceparent_goes_nowhere(
    client: Client, service: Server, conversation: str, upstream: ScriptedUpstream, malformed: str
) -> None:
    # On the same connection as a good one, whose context must not be used again.
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    authorized = {"Authorization": f"Bearer {client.token}", "Content-Type": "application/json"}
    connection.request("GET", "/api/conversations", headers={**authorized, "traceparent": TRACEPARENT})
    first = connection.getresponse()
    first.read()
    sock = connection.sock
    path, body = f"/api/conversations/{conversation}/messages", json.dumps({"content": "malformed"})
    connection.request("POST", path, body, headers={**authorized, "traceparent": malformed})
    answer = connection.getresponse()
    assert b'"done"' in answer.read()
    assert connection.sock is sock
    connection.close()
    call = upstream.wait_call("malformed")
    assert "traceparent" not in call.headers
    assert call.headers["x-trace-id"] == answer.headers["X-Trace-Id"] != TRACE


def test_spans_go_to_opentelemetry_without_words(
    new_server: StartServer, auth: ScriptedAuth, upstream: ScriptedUpstream
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="requirements-observability.txt is not installed")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    upstream.script(tokens("privateanswer"), done(), when="privatequestion")
    with Collector() as collector:
        endpoint = f"http://127.0.0.1:{collector.port}"
        with new_server(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="200") as server:
            user = Client(server.port, make_token(nonce="veryprivatetoken"))
            conversation = user.create_conversation(title="privatetitle")
            user.get("/api/conversations?q=privatesearch")
            user.send(conversation, "privatequestion", headers={"traceparent": TRACEPARENT}).finish()
            call = upstream.wait_call("privatequestion")

            def spans() -> dict[str, Any]:
                requests = [ExportTraceServiceRequest.FromString(body) for _, body in list(collector.posted)]
                return {
                    span.name: span
                    for request in requests
                    for resource in request.resource_spans
                    for scope in resource.scope_spans
                    for span in scope.spans
                }

            send = "POST api/conversations/<str:conversation_id>/messages"
            wait_until(lambda: {send, "generate reply", "validate token"} <= spans().keys(), "the spans have arrived")
            user.close()
        found = spans()
        everything = b"".join(body for _, body in collector.posted)
    assert found[send].trace_id.hex() == found["generate reply"].trace_id.hex() == TRACE
    assert found[send].parent_span_id.hex() == PARENT
    assert found["generate reply"].parent_span_id == found[send].span_id
    # The inference service continues the reply's span.
    assert call.headers["traceparent"] == f"00-{TRACE}-{found['generate reply'].span_id.hex()}-01"
    assert b"chat-api" in everything
    assert b"private" not in everything
    assert conversation.encode() not in everything


def test_errors_go_to_sentry_without_words(new_server: StartServer, auth: ScriptedAuth, upstream: ScriptedUpstream) -> None:
    pytest.importorskip("sentry_sdk", reason="requirements-observability.txt is not installed")
    upstream.script(tokens("privateanswer"), event("privategarbage"), when="privatequestion")
    with Collector() as collector:
        with new_server(SENTRY_DSN=f"http://key@127.0.0.1:{collector.port}/1") as server:
            user = Client(server.port, make_token(nonce="veryprivatetoken"))
            conversation = user.create_conversation(title="privatetitle")
            user.send(conversation, "privatequestion", headers={"X-Trace-Id": "to-be-found"}).finish()
            auth.fail(500, b"privateauthbody")
            other = Client(server.port, make_token(nonce="veryprivateunchecked"))
            assert other.request("GET", "/api/conversations?q=privatesearch").status == 503

            def events() -> list[dict[str, Any]]:
                lines = [line for _, body in list(collector.posted) for line in body.splitlines()]
                return [parsed for parsed in map(json.loads, lines) if "logentry" in parsed]

            def told() -> set[str]:
                return {one["logentry"]["message"] for one in events()}

            wait_until(lambda: {"reply ended", "auth service gave an unexpected answer"} <= told(), "the errors have arrived")
            user.close()
            other.close()
        everything = b"".join(body for _, body in collector.posted).decode()
    assert "to-be-found" in {one["tags"]["trace_id"] for one in events()}
    assert "private" not in everything
    assert INTERNAL_API_KEY not in everything
    assert "authorization" not in everything.lower()


def test_collectors_that_are_away_change_nothing(new_server: StartServer) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="requirements-observability.txt is not installed")
    away = free_port()
    endpoints = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{away}", "SENTRY_DSN": f"http://key@127.0.0.1:{away}/1"}
    with new_server(**endpoints) as server:
        user = Client(server.port, make_token())
        assert user.ask(user.create_conversation(), "hello").objects[-1]["status"] == "complete"
        user.close()
        # It also ends in time.
        server.stop()
