"""A server that ends, in whatever way, loses nothing that a user was shown."""

import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.steps import done, endless, hold, stall, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


def test_a_running_reply_may_end_while_the_server_shuts_down(
    new_server: StartServer, client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    gate = upstream.gate()
    upstream.script(tokens("before"), hold(gate), tokens(" after"), done())
    with new_server() as ending:
        visitor = client.at(ending.port)
        stream = visitor.send(conversation, "last words")
        stream.read_until("before")
        ending.terminate()
        gate.open()
        assert stream.finish()["status"] == "complete"
        visitor.close()
    assert client.message(conversation, stream.message_id)["content"] == "before after"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--graceful-timeout", "7"), id="short"),
        # Not the default of 30 s: with it, little time is left until a busy machine's server counts as one that was killed.
        pytest.param(("--graceful-timeout", "24"), id="long", marks=pytest.mark.exhaustive),
    ],
)
def test_a_reply_that_goes_on_is_saved_before_the_server_goes(
    new_server: StartServer, client: Client, conversation: str, upstream: ScriptedUpstream, arguments: tuple[str, ...]
) -> None:
    upstream.script(tokens("so far"), stall())
    with new_server(arguments=arguments) as ending:
        visitor = client.at(ending.port)
        stream = visitor.send(conversation, "endless")
        stream.read_until("so far")
        ending.terminate()
        assert stream.finish()["status"] == "interrupted"
        visitor.close()
    message = client.message(conversation, stream.message_id)
    assert (message["status"], message["content"]) == ("interrupted", "so far")


@pytest.mark.parametrize(
    ("age", "limit_s"),
    [
        pytest.param({"ABANDONED_AFTER_SECONDS": "3"}, 30, id="short"),
        pytest.param({}, 60, id="default", marks=pytest.mark.exhaustive),
    ],
)
def test_what_was_saved_of_a_killed_servers_reply_stays(
    new_server: StartServer, client: Client, upstream: ScriptedUpstream, age: dict[str, str], limit_s: float
) -> None:
    upstream.script(tokens("shown"), endless(" on"), when="doomed")
    with new_server(**age) as survivor, new_server(**age) as dying:
        client, visitor = client.at(survivor.port), client.at(dying.port)
        conversation = client.create_conversation()
        message_id = visitor.send(conversation, "doomed").message_id
        saved = wait_until(lambda: client.message(conversation, message_id)["content"], "a checkpoint")
        dying.kill()
        visitor.close()
        reader = client.follow(conversation, message_id)
        message = wait_until(
            lambda: (m := client.message(conversation, message_id))["status"] != "streaming" and m,
            "the reply is given up",
            limit_s,
        )
        assert message["status"] == "interrupted"
        assert message["content"].startswith(saved)
        assert reader.finish()["status"] == "interrupted"
        assert reader.text == message["content"]
        assert client.ask(conversation, "and on").text == "and on"
