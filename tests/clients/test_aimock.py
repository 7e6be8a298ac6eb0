"""An inference service that others wrote: aimock, with OpenAI's protocol."""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.clients.node import NodeScript
from tests.conftest import StartServer
from tests.support.chat_templates import TEMPLATES, render
from tests.support.client import Client
from tests.support.server import Server
from tests.support.waiting import wait_until

TURNS = 60
MAX_CONVERSATION_HISTORY = 50  # the default
PROMPT = "Answer in verse."
LONG = "one word after another " * 8


class Aimock:
    """The running mock. Strict: it refuses what the test has not told it to answer."""

    def __init__(self, script: NodeScript) -> None:
        self._script = script
        self.url = script.ask(do="start")

    def answer(self, message: str, response: dict, **options: object) -> None:
        """Say what it answers to a message that contains this text."""
        assert self._script.ask(do="answer", message=message, response=response, **options) is None

    def requests(self) -> list[dict]:
        """The messages of each request so far, and the status of its answer."""
        return self._script.ask(do="requests")


@pytest.fixture(scope="module")
def aimock(node: None) -> Iterator[Aimock]:
    with NodeScript("aimock.mjs") as script:
        yield Aimock(script)


@pytest.fixture(scope="module")
def service(aimock: Aimock, new_server: StartServer) -> Iterator[Server]:
    settings = {"INFERENCE_PROTOCOL": "openai", "INFERENCE_MODEL": "tiny", "SYSTEM_PROMPT": PROMPT}
    with new_server(INFERENCE_SERVICE_URL=aimock.url, **settings) as server:
        yield server


def test_reasoning_has_its_own_channel(aimock: Aimock, client: Client, conversation: str) -> None:
    aimock.answer("tea", {"content": "Tea it is.", "reasoning": "Let me think about that."})
    stream = client.ask(conversation, "tea or coffee?")
    assert (stream.reasoning, stream.text) == ("Let me think about that.", "Tea it is.")
    message = client.message(conversation, stream.message_id)
    assert (message["reasoning"], message["content"], message["status"]) == (stream.reasoning, stream.text, "complete")
    # Half of it, from the cursor of a frame in the middle of the reasoning.
    first = next(frame.event_id for frame in stream.frames if frame.object and "reasoning" in frame.object)
    again = client.follow(conversation, stream.message_id, last_event_id=first)
    again.finish()
    assert (again.reasoning, again.text) == (stream.reasoning[int(first.split("-")[1]) :], stream.text)


def test_a_tool_call_without_text_is_a_failure(aimock: Aimock, client: Client, conversation: str) -> None:
    aimock.answer("weather", {"toolCalls": [{"name": "look_up", "arguments": '{"city": "Delhi"}'}], "reasoning": "I look."})
    stream = client.send(conversation, "the weather?")
    assert stream.finish()["status"] == "failed"
    assert [item["error"] for item in stream.objects if "error" in item] == ["tool_call_unsupported"]
    message = client.message(conversation, stream.message_id)
    assert (message["status"], message["error_code"], message["content"]) == ("failed", "tool_call_unsupported", "")
    assert (message["reasoning"], message["finish_reason"]) == ("I look.", "tool_calls")


@pytest.mark.parametrize(("said", "status", "code"), [(500, 502, "upstream_error"), (429, 503, "upstream_busy")])
def test_an_error_is_an_error(aimock: Aimock, client: Client, conversation: str, said: int, status: int, code: str) -> None:
    aimock.answer(f"answer {said}", {"error": {"message": "a secret of the upstream"}, "status": said})
    refusal = client.send(conversation, f"answer {said}")
    assert (refusal.status, refusal.json["code"]) == (status, code)
    assert "secret" not in str(client.messages(conversation))


def test_a_stream_that_is_cut_keeps_its_text(aimock: Aimock, client: Client, conversation: str) -> None:
    aimock.answer("cut", {"content": LONG}, truncateAfterChunks=4, latency=20)
    stream = client.send(conversation, "cut it")
    assert stream.finish()["status"] == "failed"
    message = client.message(conversation, stream.message_id)
    assert (message["status"], message["error_code"]) == ("failed", "upstream_error")
    assert message["content"] == stream.text
    assert LONG.startswith(stream.text)
    assert stream.text


def send_whole(client: Client, conversation: str, question: str) -> str:
    return str(client.send(conversation, question).finish()["status"])


def send_refused(client: Client, conversation: str, question: str) -> str:
    assert client.send(conversation, question).status in (502, 503)
    return "failed"


def send_and_stop(client: Client, conversation: str, question: str) -> str:
    stream = client.send(conversation, question)
    stream.read_until("w")
    assert client.stop(conversation).status == 200
    return str(stream.finish()["status"])


def send_and_stop_at_once(client: Client, conversation: str, question: str) -> str:
    """Stop before there is text."""
    stream = client.send(conversation, question, headers={"Prefer": "respond-async"})
    assert stream.status == 202
    return str(client.stop(conversation).json["status"])


Send = Callable[[Client, str, str], str]
WHOLE = {"content": LONG, "reasoning": "Let me think."}
# What happens to a turn: what the mock answers, its options, what the client does, and how the reply ends.
KINDS: list[tuple[dict, dict, Send, str]] = [
    (WHOLE, {}, send_whole, "complete"),
    ({"error": {"message": "no", "type": "server_error"}, "status": 500}, {}, send_refused, "failed"),
    (WHOLE, {}, send_whole, "complete"),
    (WHOLE, {"latency": 300}, send_and_stop, "stopped"),
    ({"content": LONG}, {"truncateAfterChunks": 4, "latency": 20}, send_whole, "failed"),
    (WHOLE, {}, send_whole, "complete"),
    ({"toolCalls": [{"name": "look_up", "arguments": "{}"}]}, {}, send_whole, "failed"),
    ({"error": {"message": "slow down"}, "status": 429}, {}, send_refused, "failed"),
    ({"content": LONG}, {"latency": 300}, send_and_stop_at_once, "stopped"),
]


def test_sixty_turns_with_failures_and_stops_are_never_refused(aimock: Aimock, client: Client, conversation: str) -> None:
    earlier = len(aimock.requests())
    ends: Counter[str] = Counter()
    for turn in range(1, TURNS + 1):
        response, options, send, end = KINDS[turn % len(KINDS)]
        aimock.answer(f"turn {turn}.", response, **options)
        assert send(client, conversation, f"This is turn {turn}.") == end, turn
        ends[end] += 1
    assert min(ends.values()) > 10, ends
    wait_until(lambda: len(aimock.requests()) == earlier + TURNS, "every request is in the mock's journal")
    sent = [request["messages"] for request in aimock.requests()[earlier:]]
    for turn, messages in enumerate(sent, 1):
        assert messages[0] == {"role": "system", "content": PROMPT}
        assert {message["role"] for message in messages[1:]} <= {"user", "assistant"}
        # A turn without an answer is asked again with the next one.
        assert messages[-1]["content"].endswith(f"This is turn {turn}.")
        for template in TEMPLATES.values():
            assert f"This is turn {turn}." in render(template, messages)
    # The history reached its limit, so the first turns were left out.
    assert 30 < len(sent[-1]) <= MAX_CONVERSATION_HISTORY
    assert not [message for message in sent[-1] if "This is turn 1." in message["content"]]
