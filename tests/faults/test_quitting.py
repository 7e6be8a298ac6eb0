"""A server that is told to quit, or whose master dies, saves its replies as it does on SIGTERM."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.client import Client, Stream
from tests.support.server import Server
from tests.support.steps import done, hold, stall, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

from .conftest import NewUser, StartNode

pytestmark = pytest.mark.slow
# So rare that it saves nothing.
NO_CHECKPOINTS = {"CHECKPOINT_SECONDS": "100"}
# Replies run on for 2 s; the rest of the graceful time is for saving.
GRACEFUL = ("--graceful-timeout", "7")


def test_on_ctrl_c_replies_are_saved(
    survivor: Server, start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    assert_saved_at_once(Server.press_ctrl_c, survivor, start_node, new_user, upstream)


def test_on_ctrl_c_during_a_shutdown_replies_are_saved(
    survivor: Server, start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    """The master kills its workers 2 s later."""

    def hurry(server: Server) -> None:
        server.terminate()
        wait_until(lambda: "worker ends" in server.log, "the worker knows that it ends")
        server.press_ctrl_c()

    assert_saved_at_once(hurry, survivor, start_node, new_user, upstream)


def test_a_worker_without_a_master_lets_its_replies_end(
    survivor: Server, start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("half"), hold(gate), tokens(" and whole"), done(), when="finish")
    upstream.script(tokens("half"), stall(), when="stall")
    with start_node(*GRACEFUL, **NO_CHECKPOINTS) as orphaned:
        user = new_user(orphaned)
        finishing, stalled = begin(user, "finish"), begin(user, "stall")
        (worker,) = orphaned.workers()
        orphaned.kill_master()
        # A new master can have the address while the old replies go on.
        wait_until(lambda: refuses(orphaned.port), "it accepts no more connections")
        gate.open()
        assert (finishing.finish()["status"], finishing.text) == ("complete", "half and whole")
        assert (stalled.finish()["status"], stalled.text) == ("interrupted", "half")
        wait_until(lambda: not Path(f"/proc/{worker}").exists(), "the worker has ended by itself")
        elsewhere = user.at(survivor.port)
        assert_kept(elsewhere, finishing, "complete", "half and whole")
        assert_kept(elsewhere, stalled, "interrupted", "half")


def test_a_worker_whose_terminal_is_closed_lets_its_replies_end(
    survivor: Server, start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    upstream.script(tokens("half"), stall())
    with start_node(*GRACEFUL, **NO_CHECKPOINTS) as hung_up:
        user = new_user(hung_up)
        stream = begin(user, "stall")
        for worker in hung_up.workers():
            os.kill(worker, signal.SIGHUP)
        assert (stream.finish()["status"], stream.text) == ("interrupted", "half")
        assert_kept(user.at(survivor.port), stream, "interrupted", "half")


def test_a_worker_that_is_told_to_end_while_it_starts_does_so(start_node: StartNode) -> None:
    with start_node("--worker-class", "tests.faults.ended_early.EndedEarly") as server:
        # The master has replaced it.
        assert server.log.count("Booting worker") == 2


def assert_saved_at_once(
    end: Callable[[Server], None], survivor: Server, start_node: StartNode, new_user: NewUser, upstream: ScriptedUpstream
) -> None:
    """End a server that has a reply with a reader and one without, and see that both are saved and the reader is told."""
    gate = upstream.gate()
    upstream.script(tokens("half"), stall(), when="read")
    upstream.script(tokens("half"), hold(gate), when="unread")
    with start_node(**NO_CHECKPOINTS) as ending:
        user = new_user(ending)
        read, unread = begin(user, "read"), begin(user, "unread")
        unread.abort()
        end(ending)
        assert (read.finish()["status"], read.text) == ("interrupted", "half")
        ending.stop()
        elsewhere = user.at(survivor.port)
        assert_kept(elsewhere, read, "interrupted", "half")
        assert_kept(elsewhere, unread, "interrupted", "half")


def begin(user: Client, content: str) -> Stream:
    stream = user.send(user.create_conversation(), content)
    stream.read_until("half")
    return stream


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def assert_kept(user: Client, stream: Stream, status: str, text: str) -> None:
    message = user.get(stream.headers["Content-Location"])
    assert (message["status"], message["content"]) == (status, text)
