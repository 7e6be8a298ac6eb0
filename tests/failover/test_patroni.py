"""The primary is lost under load and Patroni promotes the standby. `make test-cluster` runs this.

Fifty replies run and clients send with keys while Patroni and PostgreSQL of the primary are killed with SIGKILL. Afterwards
what clients were told is compared with what the new primary has.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from devstack.patroni import PatroniCluster, missing_packages, temporary_cluster
from tests.support.auth import ScriptedAuth, make_token
from tests.support.client import Client, Stream
from tests.support.database import manage
from tests.support.parallel import at_once
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

from .senders import Sender

pytestmark = [
    pytest.mark.skipif("TEST_CLUSTER" not in os.environ, reason="make test-cluster runs it"),
    pytest.mark.skipif(bool(missing_packages()), reason=f"Debian packages are missing: {', '.join(missing_packages())}"),
]
REPLIES = 50
SENDERS = 8
TURNS_BEFORE = 3
TURNS_AFTER = 2
# Patroni's `ttl` and what a busy machine adds to it.
PROMOTION_LIMIT_S = 60.0
ENDS = {"ends meanwhile": "before during", "goes on": "before during after"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[PatroniCluster]:
    with temporary_cluster() as servers:
        manage(servers.url(), "migrate", "--verbosity=0")
        yield servers


@pytest.fixture(scope="module")
def service(cluster: PatroniCluster, auth_of_session: ScriptedAuth, upstream_of_session: ScriptedUpstream) -> Iterator[Server]:
    urls = {"database_url": cluster.url(), "auth_url": auth_of_session.url, "upstream_url": upstream_of_session.url}
    with Server(**urls) as server:
        yield server


@pytest.fixture
def senders(service: Server) -> Iterator[list[Sender]]:
    clients = [Client(service.port, make_token(), limit_s=90) for _ in range(SENDERS)]
    yield [Sender(user, user.create_conversation(), f"sender {number}") for number, user in enumerate(clients)]
    for user in clients:
        user.close()


def test_nothing_is_lost_or_doubled_when_the_primary_is_killed(
    client: Client, upstream: ScriptedUpstream, cluster: PatroniCluster, service: Server, senders: list[Sender]
) -> None:
    workers = service.workers()
    during, after = upstream.gate(), upstream.gate()
    upstream.script(tokens("before"), hold(during), tokens(" during"), done(), when="ends meanwhile")
    upstream.script(tokens("before"), hold(during), tokens(" during"), hold(after), tokens(" after"), done(), when="goes on")
    running = begin_replies(client)
    lost = cluster.primary()
    assert lost
    stop = threading.Event()
    with ThreadPoolExecutor(SENDERS) as threads:
        sending = [threads.submit(sender.send_until, stop) for sender in senders]
        try:
            wait_until(lambda: all(len(sender.told) >= TURNS_BEFORE for sender in senders), "the senders have begun")
            lost.kill()
            killed_at = time.monotonic()
            during.open()
            for _, stream in running:
                stream.read_until(" during")
            wait_until(cluster.primary, "Patroni promotes the standby", PROMOTION_LIMIT_S)
            promoted_at = time.monotonic()
            after.open()
            told = [(content, stream, stream.finish()) for content, stream in running]
            wait_until(lambda: all(turns_since(sender, promoted_at) >= TURNS_AFTER for sender in senders), "sends work", 90)
        finally:
            stop.set()
        for each in sending:
            each.result()
    print(report(killed_at, promoted_at, senders, Counter(end["status"] for _, _, end in told)))

    for content, stream, end in told:
        assert (end["status"], stream.text) == ("complete", ENDS[content])
        message = client.get(stream.headers["Content-Location"])
        assert (message["status"], message["content"]) == ("complete", ENDS[content])
    for sender in senders:
        check_sender(sender)
    with cluster.connect() as connection:
        assert connection.execute("SELECT count(*) FROM messages WHERE status = 'streaming'").fetchone() == (0,)
        assert connection.info.port != lost.port
    assert service.workers() == workers


def begin_replies(client: Client) -> list[tuple[str, Stream]]:
    """Start the replies that run during the fail-over. Return each with its question."""

    def begin(number: int) -> tuple[str, Stream]:
        content = list(ENDS)[number % 2]
        stream = client.send(client.create_conversation(), content)
        stream.read_until("before")
        return content, stream

    return at_once(begin, REPLIES)


def turns_since(sender: Sender, moment: float) -> int:
    return sum(attempt.outcome == "complete" and attempt.began_at > moment for attempt in list(sender.attempts))


def check_sender(sender: Sender) -> None:
    """Compare what a sender was told with what is stored."""
    assert not sender.problems
    stored = sender.client.messages(sender.conversation)
    asked = [message["content"] for message in stored if message["role"] == "user"]
    assert asked == sender.contents  # each once, in order
    replies = {message["id"]: message for message in stored if message["role"] == "assistant"}
    for told in sender.told:
        assert (replies[told.message_id]["status"], replies[told.message_id]["content"]) == (told.status, told.text)
    whole = [reply["parent_id"] for reply in replies.values() if reply["status"] == "complete"]
    assert sorted(whole) == sorted(message["id"] for message in stored if message["role"] == "user")
    assert {reply["status"] for reply in replies.values()} <= {"complete", "interrupted", "failed"}


def all_contents(senders: list[Sender]) -> list[str]:
    return [content for sender in senders for content in sender.contents]


def report(killed_at: float, promoted_at: float, senders: list[Sender], running: Counter[str]) -> str:
    """Return the rows of the table in docs/guarantees.md."""
    attempts = [attempt for sender in senders for attempt in sender.attempts]
    # Replies to sends of the last moment before the kill may still end after it.
    answered = [attempt.ended_at for attempt in attempts if attempt.outcome == "complete" and attempt.began_at > killed_at]
    turns = [[attempt for attempt in attempts if attempt.content == content] for content in all_contents(senders)]
    rows = {
        "Patroni has promoted the standby": f"{promoted_at - killed_at:.1f} s after the kill",
        "the first send is answered again": f"{min(answered) - killed_at:.1f} s after the kill",
        f"the {REPLIES} running replies": dict(running),
        "turns sent": len(turns),
        "requests for them": dict(Counter(attempt.outcome for attempt in attempts)),
        "longest turn, with its repetitions": f"{max(turn[-1].ended_at - turn[0].began_at for turn in turns):.1f} s",
    }
    return "\n".join(["", *(f"| {name} | {value} |" for name, value in rows.items())])
