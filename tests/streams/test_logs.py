"""The log tells an operator what happened, and nobody what was said."""

from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client
from tests.support.server import INTERNAL_API_KEY, Server
from tests.support.steps import event, respond, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until


def test_a_turn_can_be_found_by_its_trace_id(client: Client, service: Server, conversation: str) -> None:
    client.send(conversation, "hello", headers={"X-Trace-Id": "a-turn-to-find"}).finish()
    lines = wait_until(lambda: [line for line in service.log_lines() if line.get("trace_id") == "a-turn-to-find"], "log")
    for line in lines:
        assert {"timestamp", "level", "service", "message", "trace_id"} <= line.keys()
    ended = wait_until(
        lambda: [
            line for line in service.log_lines() if line.get("trace_id") == "a-turn-to-find" and "inference_time_ms" in line
        ],
        "the reply's end is in the log",
    )
    assert ended[0]["user_id"]


def test_failures_are_in_the_log(client: Client, service: Server, conversation: str, upstream: ScriptedUpstream) -> None:
    upstream.script(respond("503 Service Unavailable"))
    client.send(conversation, "hello", headers={"X-Trace-Id": "a-failure-to-find"})
    wait_until(
        lambda: [line for line in service.log_lines() if line.get("trace_id") == "a-failure-to-find" and line.get("error")],
        "the failure is in the log",
    )


def test_neither_tokens_nor_keys_nor_words_are_in_the_log(
    service: Server, auth: ScriptedAuth, upstream: ScriptedUpstream
) -> None:
    token, rejected = make_token(nonce="veryprivatetoken"), "rejectedprivatetoken"
    user, stranger = Client(service.port, token), Client(service.port, rejected)
    conversation = user.create_conversation(title="Privatetitle")
    upstream.script(tokens("privateanswer"), event("privategarbage"), when="privatequestion")
    user.send(conversation, "privatequestion").finish()
    upstream.script(respond("500 Internal Server Error", b"privatebody"), when="privatequestion")
    user.send(conversation, "another privatequestion").close()
    assert user.get("/api/conversations?q=privatesearch")["items"] == []
    assert user.request("POST", "/api/conversations", {"title": ["privatemalformed"]}).status == 400
    assert stranger.request("GET", "/api/conversations").status == 401
    auth.fail(500, b"privateauthbody")
    assert Client(service.port, make_token(nonce="privateunchecked")).request("GET", "/api/conversations").status == 503
    user.send(conversation, "last", headers={"X-Trace-Id": "the-last-turn"}).finish()
    wait_until(lambda: "the-last-turn" in service.log, "all of it is in the log")
    log = service.log.lower()
    assert "private" not in log, [line for line in log.splitlines() if "private" in line]
    assert INTERNAL_API_KEY not in log
    user.close()


def test_every_line_is_one_json_object(client: Client, service: Server, conversation: str) -> None:
    client.ask(conversation, "hello")
    lines = service.log_lines()
    assert lines
    for line in lines:
        assert {"timestamp", "level", "service", "message"} <= line.keys()


def test_what_goes_well_is_no_error(client: Client, service: Server, conversation: str) -> None:
    client.ask(conversation, "hello")
    # On the same connection, so what the server does after the stream is done.
    client.send(conversation, "hello again", headers={"X-Trace-Id": "all-is-well"}).finish()
    client.get("/api/conversations")
    begin = next(number for number, line in enumerate(service.log_lines()) if line.get("trace_id") == "all-is-well")
    assert [line for line in service.log_lines()[begin:] if line["level"] in ("WARNING", "ERROR", "CRITICAL")] == []
