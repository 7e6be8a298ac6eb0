"""SIGHUP, once or twice: new workers take over, and no send is refused because the old ones end."""

import os
import signal
import threading
import time
from collections import Counter

import pytest

from tests.support.server import Server
from tests.support.waiting import wait_until

from .conftest import NewUser, StartNode

pytestmark = pytest.mark.slow
SENDERS = 8


@pytest.mark.parametrize("pauses_s", [(), (0.0,), (0.3,), (1.2,), (2.0,)], ids=["once", "at once", "soon", "later", "late"])
def test_no_send_is_refused_while_workers_are_replaced(
    start_node: StartNode, new_user: NewUser, pauses_s: tuple[float, ...]
) -> None:
    with start_node() as node:
        answers: Counter[int] = Counter()
        is_over = threading.Event()

        def send_again_and_again() -> None:
            user = new_user(node)
            while not is_over.is_set():
                answers[user.send(user.create_conversation(), "again").status] += 1

        senders = [threading.Thread(target=send_again_and_again) for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        reload(node, pauses_s)
        is_over.set()
        for sender in senders:
            sender.join()
        assert set(answers) == {200}


def test_a_node_answers_while_its_new_worker_boots(start_node: StartNode, new_user: NewUser) -> None:
    with start_node() as node:
        assert node._process
        before = set(node.workers())
        os.kill(node._process.pid, signal.SIGHUP)
        wait_until(lambda: set(node.workers()) - before, "a new worker begins to boot")
        (booting,) = set(node.workers()) - before
        os.kill(booting, signal.SIGSTOP)
        try:
            # On new connections: the old worker still accepts them.
            for _ in range(3):
                other = new_user(node)
                assert other.ask(other.create_conversation(), "again").text == "again"
        finally:
            os.kill(booting, signal.SIGCONT)
        wait_until(lambda: set(node.workers()) == {booting}, "the new worker is alone")
        assert new_user(node).create_conversation()


def reload(node: Server, pauses_s: tuple[float, ...]) -> None:
    """Send SIGHUP, and again after each pause. Return when only new workers are left, or after a while."""
    assert node._process
    before = set(node.workers())
    for pause_s in (0.0, *pauses_s):
        time.sleep(pause_s)
        os.kill(node._process.pid, signal.SIGHUP)
    limit = time.monotonic() + 8
    while time.monotonic() < limit and (before & set(node.workers()) or not node.workers()):
        time.sleep(0.1)
    time.sleep(2)
