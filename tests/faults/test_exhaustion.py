"""A worker that runs out of descriptors: connections wait, and running replies are saved."""

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.raw import RawConnection
from tests.support.server import Server
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

from .conftest import NewUser, StartNode

pytestmark = pytest.mark.slow
FREE = 100


@contextmanager
def limited(worker: int, what: int, limit: int) -> Iterator[None]:
    """Set a limit of a running process, as `ulimit` does."""
    before = resource.prlimit(worker, what)
    resource.prlimit(worker, what, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(worker, what, before)


def highest_descriptor(worker: int) -> int:
    return max(int(file.name) for file in Path(f"/proc/{worker}/fd").iterdir())


def said(node: Server) -> str:
    """Return what it wrote to its standard error, where gevent's tracebacks go."""
    return node._stderr.read_text()


def test_connections_wait_for_descriptors(start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("before"), hold(gate), tokens(" and after"), done(), when="wait")
    with start_node() as node:
        [worker] = node.workers()
        user = new_user(node)
        conversation = user.create_conversation()
        stream = user.send(conversation, "wait")
        stream.read_until("before")
        stream_path = f"/api/conversations/{conversation}/messages/{stream.message_id}/stream"
        with limited(worker, resource.RLIMIT_NOFILE, highest_descriptor(worker) + FREE), ExitStack() as opened:
            following = [opened.enter_context(RawConnection(node.port)) for _ in range(FREE + 50)]
            for connection in following:
                connection.send_head("GET", stream_path, user.token, Connection="close")
            wait_until(lambda: "new connections wait" in node.log or "Too many open files" in said(node), "they have run out")
            used_s = processor_time_s(worker)
            # Long enough to see whether the worker tries without a pause.
            time.sleep(2)
            assert processor_time_s(worker) - used_s < 0.5
            gate.open()
            assert stream.finish()["status"] == "complete"
            # Each that is answered makes room for one that waits.
            assert {connection.status() for connection in following} == {200}
        assert user.message(conversation, stream.message_id)["content"] == "before and after"
        assert_no_traceback(node)
        assert node.log.count("new connections wait") == 1


def processor_time_s(worker: int) -> float:
    fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def assert_no_traceback(node: Server) -> None:
    assert "Traceback" not in said(node)
    assert [line for line in node.log_lines() if line["level"] == "ERROR"] == []
