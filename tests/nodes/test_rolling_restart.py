"""Both nodes are replaced while many streams run. Clients retry with their keys, and every question gets one complete reply."""

import importlib.util
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import ModuleType

import httpx
import pytest

from devstack.folder import PROJECT
from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.exchange import Exchange
from tests.support.steps import Step, done, token
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

from .cluster import Cluster

pytestmark = pytest.mark.slow
WORDS = ["One", " word", " after", " another", ",", " wörld", " 👩‍👩‍👧", " and", " the", " end"]
REPLY = "".join(WORDS)
# What a client that repeats its request with its key may get meanwhile.
RETRIED = {502, 503, 504}
MOST_ATTEMPTS = 10


@dataclass
class User:
    """Asks one question after the other until it is told to stop."""

    client: Client
    conversation: str
    asked: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)

    def converse(self, stream: ModuleType, enough: threading.Event) -> None:
        address = f"http://127.0.0.1:{self.client.port}"
        with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {self.client.token}"}, timeout=45) as http:
            while not enough.is_set():
                self.asked.append(f"question-{len(self.asked)}")
                self.read.append(self._ask(stream, http, self.asked[-1]))

    def _ask(self, stream: ModuleType, http: httpx.Client, question: str) -> str:
        """Send a question and read its reply, as examples/stream.py does. If the send is refused, repeat it with its key."""
        for _ in range(MOST_ATTEMPTS):
            try:
                said = list(stream.stream_reply(http, self.conversation, question, key=question))
            except httpx.HTTPStatusError as refusal:
                self.refusals.append(refusal.response.status_code)
                assert refusal.response.status_code in RETRIED, refusal.response.text
                time.sleep(float(refusal.response.headers.get("Retry-After", 1)))
            else:
                assert said[-1]["status"] == "complete", said[-1]
                return "".join(item.get("token") or "" for item in said)
        raise AssertionError(f"refused {MOST_ATTEMPTS} times: {self.refusals}")


@pytest.mark.parametrize("count", [12, pytest.param(50, marks=pytest.mark.exhaustive)])
def test_a_rolling_restart_of_both_nodes_loses_and_doubles_nothing(
    cluster: Cluster, upstream: ScriptedUpstream, count: int
) -> None:
    upstream.script(*(step for word in WORDS for step in (token(word), rest(0.25))), done(), when="question")
    users = [begin(cluster) for _ in range(count)]
    stream, enough, operator = load_example(), threading.Event(), Client(cluster.nginx.port, make_token())
    with ThreadPoolExecutor(count) as threads:
        conversing = [threads.submit(user.converse, stream, enough) for user in users]
        try:
            for port in cluster.ports:
                wait_until(lambda: running(upstream) >= count // 2, "many replies run")
                cluster.restart(port, operator)
        finally:
            enough.set()
        for conversation in conversing:
            conversation.result()

    for user in users:
        messages = user.client.messages(user.conversation)
        assert [message["content"] for message in messages if message["role"] == "user"] == user.asked
        replies = [message for message in messages if message["role"] == "assistant"]
        assert [(reply["status"], reply["content"]) for reply in replies] == [("complete", REPLY)] * len(user.asked)
        assert user.read == [REPLY] * len(user.asked)


def running(upstream: ScriptedUpstream) -> int:
    return sum(not call.over.is_set() for call in upstream.generations())


def begin(cluster: Cluster) -> User:
    client = Client(cluster.nginx.port, make_token())
    return User(client, client.create_conversation())


def rest(seconds: float) -> Step:
    """Wait, as a model does between two tokens."""

    def step(exchange: Exchange) -> None:
        exchange.wait(timeout_s=seconds)

    return step


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stream", PROJECT / "examples" / "stream.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
