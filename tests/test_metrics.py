"""What `/metrics` shows of two workers, and who may read it."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.processes import free_port
from tests.conftest import StartServer
from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client
from tests.support.database import manage
from tests.support.metrics import Page, get_page, needs_promtool, promtool
from tests.support.server import Server
from tests.support.steps import done, hold, respond, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

TOKEN = "a-token-for-the-metrics"
METRICS_PORT = free_port()
KEEPERS_CONNECTIONS = 2


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(WEB_CONCURRENCY="2", METRICS_PORT=str(METRICS_PORT)) as server:
        yield server


def scrape() -> Page:
    page = get_page(METRICS_PORT)
    assert page.status == 200, page.text
    return page


def increase(before: Page, name: str, by: float = 1, **labels: str) -> None:
    """Wait until a metric is greater by exactly this much than it was."""
    expected = before.value(name, **labels) + by
    wait_until(lambda: scrape().value(name, **labels) == expected, f"{name} {labels} is {expected}")


def wait_value(expected: float, name: str, **labels: str) -> None:
    wait_until(lambda: scrape().value(name, **labels) == expected, f"{name} {labels} is {expected}")


def test_a_turn_is_counted(service: Server, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens("one ", "two ", "three"), done(), when="count me")
    before = scrape()
    conversation = client.create_conversation()
    client.send(conversation, "count me", headers={"Idempotency-Key": "a-key"}).finish()
    client.send(conversation, "count me", headers={"Idempotency-Key": "a-key"}).finish()
    route = "api/conversations/<str:conversation_id>/messages"
    increase(before, "chat_requests_total", by=2, method="POST", route=route, status="2xx")
    increase(before, "chat_request_duration_seconds_count", by=2, route=route)
    increase(before, "chat_sends_total", outcome="begun")
    increase(before, "chat_sends_total", outcome="repeated")
    increase(before, "chat_replies_total", status="complete")
    increase(before, "chat_tokens_total", by=3, kind="completion")
    increase(before, "chat_first_token_seconds_count")
    increase(before, "chat_reply_duration_seconds_count")
    increase(before, "chat_service_call_duration_seconds_count", service="inference")
    increase(before, "chat_resumes_total")


def test_refusals_and_failures_are_counted(service: Server, client: Client, upstream: ScriptedUpstream) -> None:
    before = scrape()
    conversation = client.create_conversation()
    upstream.script(respond("503 Service Unavailable"), when="refuse me")
    client.send(conversation, "refuse me").close()
    assert client.request("GET", "/nowhere").status == 404
    assert client.send("0190a0b0-0000-7000-8000-000000000000", "hello").status == 404
    increase(before, "chat_replies_total", status="failed", error="upstream_unavailable")
    increase(before, "chat_service_call_errors_total", service="inference", error="upstream_unavailable")
    increase(before, "chat_sends_total", outcome="not_found")
    increase(before, "chat_requests_total", method="GET", route="unmatched", status="4xx")


def test_a_running_reply_is_seen_and_its_stop(service: Server, client: Client, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("über "), hold(gate), tokens("late"), done(), when="go on")
    before = scrape()
    conversation = client.create_conversation()
    stream = client.send(conversation, "go on")
    stream.read_until("über ")
    wait_value(1, "chat_running_replies")
    wait_value(1, "chat_followers", source="memory")
    # Once: later checkpoints save no text, because nothing came.
    increase(before, "chat_checkpoint_bytes_total", by=len("über ".encode()))
    assert scrape().value("chat_checkpoint_rows_total") > before.value("chat_checkpoint_rows_total")
    assert scrape().value("chat_checkpoint_duration_seconds_count") > before.value("chat_checkpoint_duration_seconds_count")
    client.stop(conversation)
    stream.finish()
    increase(before, "chat_stop_duration_seconds_count")
    increase(before, "chat_replies_total", status="stopped")
    wait_value(0, "chat_running_replies")
    wait_value(0, "chat_followers")


def test_streams_of_changes_are_seen(service: Server, client: Client) -> None:
    streams = [client.open("GET", "/api/changes", headers={"Accept": "text/event-stream"}) for _ in range(2)]
    wait_value(2, "chat_change_streams")
    for stream in streams:
        stream.abort()
    # The server notices with what it sends next.
    client.create_conversation()
    wait_value(0, "chat_change_streams")


def test_lookups_of_tokens_are_counted(service: Server, auth: ScriptedAuth) -> None:
    before = scrape()
    user = Client(service.port, make_token())
    for _ in range(4):
        user.get("/api/conversations")
    # Each worker that answered has asked once.
    asked = len(auth.calls)
    assert 1 <= asked <= 2
    increase(before, "chat_auth_cache_lookups_total", by=asked, result="miss")
    increase(before, "chat_auth_cache_lookups_total", by=4 - asked, result="hit")
    increase(before, "chat_service_call_duration_seconds_count", by=asked, service="auth")
    auth.fail(500)
    other = Client(service.port, make_token())
    assert other.request("GET", "/api/conversations").status == 503
    increase(before, "chat_service_call_errors_total", service="auth", error="auth_unavailable")
    user.close()
    other.close()


def test_a_worker_that_dies_leaves_its_counts_and_takes_its_gauges(service: Server, client: Client) -> None:
    client.get("/api/conversations")
    wait_value(2 * KEEPERS_CONNECTIONS, "chat_database_connections_limit", pool="reply-keeper")
    before = scrape()
    victim, *_ = workers = service.workers()
    killed_at = time.time()
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(set(service.workers()) - set(workers)) == 1, "another worker took its place")
    # The gauge shows the worker where this is longest ago: a dead one would keep it in the past.
    reached = "chat_database_last_reached_timestamp_seconds"
    wait_until(lambda: scrape().value(reached) > killed_at, "all living workers have reached the database")
    wait_value(2 * KEEPERS_CONNECTIONS, "chat_database_connections_limit", pool="reply-keeper")
    assert scrape().value("chat_requests_total") >= before.value("chat_requests_total") > 0


def test_the_database_and_the_event_loop_are_watched(service: Server) -> None:
    before = scrape()
    name = "chat_database_last_reached_timestamp_seconds"
    # The keeper asks every five seconds, even where there is nothing to do.
    wait_until(lambda: scrape().value(name) > before.value(name) > 1e9, "the database was reached again")
    assert scrape().value("chat_event_loop_lag_seconds_count") > before.value("chat_event_loop_lag_seconds_count")
    for name in ("chat_database_connections_in_use", "chat_database_connections_waiting", "chat_admission_waiting_requests"):
        assert name in scrape().names()


def test_scheduled_prunes_are_shown(service: Server, client: Client, database_url: str) -> None:
    at, deleted = "chat_api_last_prune_timestamp_seconds", "chat_api_last_prune_conversations"
    assert at in scrape().names()
    conversation = client.create_conversation()
    arguments = ("prune_history", "--empty", "--older-than=2000-01-01", "--yes", "--verbosity=0")
    manage(database_url, *arguments, "--dry-run")
    started_at = time.time()
    manage(database_url, *arguments)
    wait_until(lambda: scrape().value(at, criteria="older-than,empty") > started_at - 60, "the run is shown")
    manage(database_url, *arguments[:2], "--yes", "--verbosity=0")
    wait_until(lambda: scrape().value(at, criteria="empty") > started_at - 60, "the other run is shown")
    assert scrape().value(deleted, criteria="older-than,empty") == 0
    assert scrape().value(deleted, criteria="empty") >= 1
    assert client.request("GET", f"/api/conversations/{conversation}").status == 404


@needs_promtool
def test_promtool_finds_nothing_to_mend(service: Server, client: Client, conversation: str) -> None:
    client.ask(conversation, "hello")
    client.stop(conversation)
    result = promtool("check", "metrics", text=scrape().text)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_labels_hold_no_ids(service: Server, client: Client, conversation: str) -> None:
    client.ask(conversation, "hello")
    client.request("GET", "/api/conversations/not-a-uuid")
    client.request("QUERY", f"/api/conversations/{conversation}")
    labels = scrape().labels()
    assert ("method", "other") in labels
    assert ("route", "api/conversations/<str:conversation_id>/messages") in labels
    assert not [value for _, value in labels if re.search(r"[0-9a-f]{8}|not-a-uuid|QUERY", value)]


def test_only_the_page_is_served_at_its_port(service: Server) -> None:
    assert get_page(METRICS_PORT, "/api/health").status == 404
    assert get_page(METRICS_PORT, method="POST").status == 405
    # The name that a client sends does not say where its request arrived.
    assert get_page(service.port, Host=f"127.0.0.1:{METRICS_PORT}").status == 404


def test_prometheus_own_format_is_served(service: Server) -> None:
    page = get_page(METRICS_PORT, Accept="application/openmetrics-text; version=1.0.0")
    assert page.headers["Content-Type"].startswith("application/openmetrics-text")
    assert page.text.endswith("# EOF\n")


def test_a_token_opens_the_page(new_server: StartServer) -> None:
    with new_server(METRICS_TOKEN=TOKEN) as server:
        (folder,) = metrics_folders(server)
        for refused in ("", "Bearer", f"Basic {TOKEN}", "Bearer a-token-for-the-metric", f"Bearer {TOKEN}x", "Bearer ü"):
            page = get_page(server.port, Authorization=refused)
            assert (page.status, page.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert "chat_" not in page.text
        page = get_page(server.port, Authorization=f"Bearer {TOKEN}")
        assert "chat_requests_total" in page.text
        # The service goes on beside it.
        assert get_page(server.port, "/api/health").status == 200
        assert folder.exists()
        server.stop()
        assert not folder.exists()


def test_port_and_token_go_together(new_server: StartServer) -> None:
    port = free_port()
    with new_server(METRICS_PORT=str(port), METRICS_TOKEN=TOKEN) as server:
        allowed = {"Authorization": f"Bearer {TOKEN}"}
        assert get_page(port).status == 401
        assert get_page(port, **allowed).status == 200
        assert get_page(server.port, **allowed).status == 404


def test_without_either_there_is_no_page(open_service: Server) -> None:
    assert get_page(open_service.port, Authorization="Bearer ").status == 404
    assert metrics_folders(open_service) == set()


def metrics_folders(server: Server) -> set[Path]:
    """Return the folders whose files the server's workers have mapped into their memory."""
    maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in server.workers())
    return {Path(folder) for folder in re.findall(r"/\S+/chat-api-metrics-[^/\s]+", maps)}
