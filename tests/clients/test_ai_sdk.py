"""Vercel's AI SDK, unchanged: the first version that this service supports and the newest ones."""

from collections.abc import Callable, Iterator

import pytest

from tests.clients.conftest import StartScript
from tests.clients.node import NodeScript
from tests.conftest import StartServer
from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.server import Server
from tests.support.steps import done, hang_up, hold, respond, thought, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

# The oldest and the newest one in every run: what these two read, the others read too.
LONG_FORM = [pytest.param(version, marks=pytest.mark.exhaustive) for version in ("ai-5", "ai-6")]
VERSIONS = ["ai-5.0.0", *LONG_FORM, "ai-7"]
TEXTS = ["Hello", " wörld", " 👩‍👩‍👧", ' "quoted"\n', "end"]
WHOLE = "".join(TEXTS)
OPENAI = {"INFERENCE_PROTOCOL": "openai", "INFERENCE_MODEL": "tiny"}


class Chat:
    """A chat in a page of its own."""

    def __init__(self, script: NodeScript, **where: object) -> None:
        self._script = script
        self._page = script.ask(do="open", **where)

    def begin(self, method: str, *options: object) -> None:
        assert self.do("begin", method=method, options=options) is None

    def send(self, text: str, **more: object) -> None:
        self.begin("sendMessage", {"text": text, **more})

    def ask(self, text: str, **more: object) -> "Look":
        self.send(text, **more)
        return self.finish()

    def __getattr__(self, command: str) -> Callable[..., "Look"]:
        """`finish`, `until`, `abort`, `load`, `look`, …: see the script."""
        return lambda **options: Look(self.do(command, **options))

    def do(self, command: str, **options: object) -> object:
        return self._script.ask(do="tell", page=self._page, command=command, **options)


class Look(dict):
    """What the page shows."""

    @property
    def texts(self) -> list[tuple[str, str]]:
        return [(each["role"], self.text_of(each)) for each in self["messages"]]

    @property
    def last(self) -> dict:
        return self["messages"][-1]

    @staticmethod
    def text_of(message: dict, kind: str = "text") -> str:
        return "".join(part["text"] for part in message["parts"] if part["type"] == kind)

    def assert_ready(self) -> "Look":
        assert (self["status"], self["error"]) == ("ready", None), self
        assert all(part.get("state", "done") == "done" for part in self.last["parts"]), self
        return self


@pytest.fixture(scope="module")
def service(new_server: StartServer) -> Iterator[Server]:
    with new_server(**OPENAI) as server:
        yield server


OpenChat = Callable[..., Chat]


@pytest.fixture(params=VERSIONS)
def open_chat(request: pytest.FixtureRequest, start_script: StartScript, client: Client) -> Iterator[OpenChat]:
    """Open a chat of the client's in a new page."""
    script = start_script("ai_sdk.mjs", request.param)

    def start(name: str, at: int | None = None, sends: str = "all", **more: object) -> Chat:
        address = f"http://127.0.0.1:{at or client.port}"
        return Chat(script, address=address, token=client.token, chatId=name, sends=sends, **more)

    yield start
    if script.has_answered:
        script.ask(do="close")


def stored(client: Client) -> list[tuple[str, str]]:
    """What the primary surface shows of the client's only chat, with all versions, oldest first."""
    (found,) = client.get("/api/conversations")["items"]
    return [(item["role"], item["content"]) for item in client.messages(found["id"])]


def test_a_message_and_its_reply(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens(*TEXTS), done())
    page = open_chat("kitchen")
    shown = page.ask("hi there").assert_ready()
    assert shown.texts == [("user", "hi there"), ("assistant", WHOLE)]
    assert len(shown.last["parts"]) == 1
    assert shown.last["metadata"]["status"] == "complete"
    # The page that opens later shows the same messages under the same ids.
    loaded = open_chat("kitchen").load()
    assert [(item["id"], item["role"]) for item in loaded["messages"]] == [(i["id"], i["role"]) for i in shown["messages"]]
    assert loaded.texts == shown.texts
    assert page.ask("and more").assert_ready().texts[2:] == [("user", "and more"), ("assistant", WHOLE)]
    assert [message["content"] for message in upstream.generations()[-1].body["messages"]] == ["hi there", WHOLE, "and more"]


def test_reasoning_is_a_part_of_its_own(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(thought("Let me"), thought(" think."), tokens("Tea", " it is."), done())
    shown = open_chat("kitchen").ask("Tea or coffee?").assert_ready()
    parts = [(part["type"], part["text"]) for part in shown.last["parts"]]
    assert parts == [("reasoning", "Let me think."), ("text", "Tea it is.")]
    loaded = open_chat("kitchen").load()
    assert [(part["type"], part["text"]) for part in loaded.last["parts"]] == parts


def test_another_answer(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    page = open_chat("kitchen")
    first = page.ask("hi")
    upstream.script(tokens("another"), done())
    page.begin("regenerate")
    shown = page.finish().assert_ready()
    assert shown.texts == [("user", "hi"), ("assistant", "another")]
    assert shown.last["id"] != first.last["id"]
    assert stored(client) == [("user", "hi"), ("assistant", "hi"), ("assistant", "another")]
    assert open_chat("kitchen").load().texts == shown.texts


def test_an_edit_of_the_last_message(open_chat: OpenChat, client: Client) -> None:
    page = open_chat("kitchen")
    asked = page.ask("first")["messages"][0]
    for text in ("second", "third"):
        shown = page.ask(text, messageId=asked["id"]).assert_ready()
        assert shown.texts == [("user", text), ("assistant", text)]
    # A page that opens later can edit it too, and the message keeps its id.
    other = open_chat("kitchen")
    assert other.load()["messages"][0]["id"] == asked["id"]
    assert other.ask("fourth", messageId=asked["id"]).assert_ready().texts == [("user", "fourth"), ("assistant", "fourth")]
    assert [text for role, text in stored(client) if role == "user"] == ["first", "second", "third", "fourth"]


def sent_upstream(upstream: ScriptedUpstream) -> list[str]:
    return [message["content"] for message in upstream.generations()[-1].body["messages"]]


def test_an_earlier_message_is_edited_and_an_earlier_answer_regenerated(
    open_chat: OpenChat, client: Client, upstream: ScriptedUpstream
) -> None:
    page = open_chat("kitchen")
    first = page.ask("first")["messages"]
    second = page.ask("second")["messages"]
    page.ask("third")
    page.begin("regenerate", {"messageId": second[3]["id"]})
    shown = page.finish().assert_ready()
    assert (len(shown.texts), sent_upstream(upstream)) == (4, ["first", "first", "second"])
    assert shown.last["id"] != second[3]["id"]
    shown = page.ask("changed", messageId=first[0]["id"]).assert_ready()
    assert shown.texts == [("user", "changed"), ("assistant", "changed")]
    assert sent_upstream(upstream) == ["changed"]
    page.ask("on").assert_ready()
    assert sent_upstream(upstream) == ["changed", "changed", "on"]
    assert open_chat("kitchen").load().texts == page.look().texts


def test_a_page_that_shows_other_messages(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    page = open_chat("kitchen")
    page.ask("Bob")
    both = page.ask("two")["messages"]
    # The branch that the page shows is the one that counts: cut short, without anything, and the whole one again.
    for kept, expected in ((both[:2], ["Bob", "Bob"]), ([], []), (both, ["Bob", "Bob", "two", "two"])):
        page.do("show", messages=kept)
        page.ask("next").assert_ready()
        assert sent_upstream(upstream) == [*expected, "next"]
        assert open_chat("kitchen").load().texts == page.look().texts
    page.do("show", messages=[{"id": "other", "role": "user", "parts": [{"type": "text", "text": "unknown"}]}])
    shown = page.ask("lost")
    assert (shown["status"], "history_mismatch" in shown["error"]) == ("error", True)
    assert len(upstream.generations()) == 5


def test_only_the_last_message_is_sent(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    page = open_chat("kitchen", sends="last")
    first = page.ask("first")["messages"]
    page.ask("second").assert_ready()
    assert sent_upstream(upstream) == ["first", "first", "second"]
    page.ask("changed", messageId=first[0]["id"]).assert_ready()
    assert sent_upstream(upstream) == ["changed"]
    page.begin("regenerate")
    assert page.finish().assert_ready().texts == [("user", "changed"), ("assistant", "changed")]
    assert len(upstream.generations("changed")) == 2


def test_a_second_page_resumes_in_mid_reply(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(thought("Hm"), tokens(*TEXTS[:2]), hold(gate), tokens(*TEXTS[2:]), done())
    first, second = open_chat("kitchen"), open_chat("kitchen")
    first.send("hi")
    first.until(text=TEXTS[1])
    assert second.load().texts == [("user", "hi")]
    second.begin("resumeStream")
    second.until(text=TEXTS[1])
    gate.open()
    shown = [page.finish().assert_ready() for page in (first, second)]
    assert shown[0].last == shown[1].last
    assert shown[1].texts == [("user", "hi"), ("assistant", WHOLE)]


@pytest.fixture(scope="module")
def other_node(new_server: StartServer) -> Iterator[Server]:
    with new_server(**OPENAI, HEARTBEAT_SECONDS="0.1") as server:
        yield server


def test_a_page_at_another_node_resumes(
    open_chat: OpenChat, upstream: ScriptedUpstream, other_node: Server, client: Client
) -> None:
    gate = upstream.gate()
    upstream.script(thought("Hm"), tokens(*TEXTS[:2]), hold(gate), tokens(*TEXTS[2:]), done())
    first, second = open_chat("kitchen"), open_chat("kitchen", at=other_node.port)
    first.send("hi")
    first.until(text=TEXTS[1])
    second.load()
    second.begin("resumeStream")
    second.until(text=TEXTS[1])
    gate.open()
    shown = [page.finish().assert_ready() for page in (first, second)]
    assert shown[0].last == shown[1].last


def test_a_page_resumes_while_another_answer_is_made(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    first, second = open_chat("kitchen"), open_chat("kitchen")
    first.ask("hi")
    upstream.script(tokens(*TEXTS[:2]), hold(gate), tokens(*TEXTS[2:]), done())
    first.begin("regenerate")
    first.until(text=TEXTS[1])
    assert second.load().texts == [("user", "hi")]
    second.begin("resumeStream")
    second.until(text=TEXTS[1])
    gate.open()
    assert second.finish().assert_ready().texts == [("user", "hi"), ("assistant", WHOLE)]
    assert first.finish().texts == second.look().texts


def test_resuming_without_a_running_reply_changes_nothing(open_chat: OpenChat, client: Client) -> None:
    page = open_chat("kitchen")
    page.begin("resumeStream")
    # The status is not compared: version 5.0.0 leaves it at `submitted` after every 204.
    assert (page.finish()["error"], page.look()["messages"]) == (None, [])
    messages = page.ask("hi").assert_ready()["messages"]
    page.begin("resumeStream")
    assert (page.finish()["error"], page.look()["messages"]) == (None, messages)


def test_abort_then_resume(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens(*TEXTS[:2]), hold(gate), tokens(*TEXTS[2:]), done())
    page = open_chat("kitchen")
    page.send("hi")
    page.until(text=TEXTS[1])
    assert page.abort()["status"] == "ready"
    # An aborted request stops nothing.
    page.load()
    page.begin("resumeStream")
    page.until(text=TEXTS[1])
    gate.open()
    assert page.finish().assert_ready().texts == [("user", "hi"), ("assistant", WHOLE)]


def test_abort_then_a_new_message(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens(*TEXTS[:2]), hold(gate), done(), when="first")
    page = open_chat("kitchen")
    page.send("first")
    page.until(text=TEXTS[1])
    page.abort()
    assert page.ask("second").assert_ready().texts[2:] == [("user", "second"), ("assistant", "second")]
    assert stored(client)[:2] == [("user", "first"), ("assistant", "".join(TEXTS[:2]))]


def test_a_stopped_reply_ends_like_a_complete_one(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens(*TEXTS[:2]), hold(upstream.gate()), done())
    page = open_chat("kitchen")
    page.send("hi")
    page.until(text=TEXTS[1])
    saved = client.request("POST", "/api/chat/kitchen/stop")
    assert (saved.status, saved.json["parts"][0]["text"]) == (200, "".join(TEXTS[:2]))
    shown = page.finish().assert_ready()
    assert (shown.texts[1], shown.last["metadata"]["status"]) == (("assistant", "".join(TEXTS[:2])), "stopped")
    assert shown.last["id"] == saved.json["id"]


def test_a_refusal_shows_its_text_and_can_be_retried(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(respond("503 Service Unavailable", b"{}"))
    page = open_chat("kitchen")
    shown = page.ask("hi")
    assert (shown["status"], "upstream_unavailable" in shown["error"]) == ("error", True)
    assert shown.texts == [("user", "hi")]
    upstream.script(tokens("there"), done())
    page.begin("regenerate")
    assert page.finish().assert_ready().texts == [("user", "hi"), ("assistant", "there")]
    assert [role for role, _ in stored(client)].count("user") == 1


def test_a_failure_in_the_stream_keeps_the_text(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(tokens(*TEXTS[:2]), hang_up())
    page = open_chat("kitchen")
    shown = page.ask("hi")
    assert shown["status"] == "error" and shown["error"], shown
    assert shown.texts == [("user", "hi"), ("assistant", "".join(TEXTS[:2]))]
    upstream.script(tokens("whole"), done())
    page.begin("regenerate")
    assert page.finish().assert_ready().texts == [("user", "hi"), ("assistant", "whole")]


def test_a_question_that_never_arrived_is_sent_by_a_retry(open_chat: OpenChat, client: Client) -> None:
    page = open_chat("kitchen")
    page.ask("lost", body={})
    other = open_chat("kitchen")
    other.load()
    # The service does not know this message: its send failed on its way.
    other.do("lose")
    assert other.ask("found")["status"] == "error"
    other.begin("regenerate")
    assert other.finish().assert_ready().texts[2:] == [("user", "found"), ("assistant", "found")]


@pytest.mark.parametrize("method", ["send", "edit"])
def test_a_repeated_request_asks_once(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream, method: str) -> None:
    gate = upstream.gate()
    page = open_chat("kitchen")
    edited = {"messageId": page.ask("before")["messages"][0]["id"]} if method == "edit" else {}
    upstream.script(tokens(*TEXTS[:2]), hold(gate), tokens(*TEXTS[2:]), done())
    page.do("repeat")
    page.send("once", **edited)
    page.until(text=TEXTS[1])
    gate.open()
    assert page.finish().assert_ready().texts[-1] == ("assistant", WHOLE)
    assert page.do("lost") == 1
    assert len(upstream.generations("once")) == 1
    assert stored(client)[-2:] == [("user", "once"), ("assistant", WHOLE)]


def test_comments_are_no_events(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream, other_node: Server) -> None:
    gate = upstream.gate()
    upstream.script(hold(gate), tokens("late"), done())
    page = open_chat("kitchen", at=other_node.port)
    page.send("hi")
    upstream.wait_call("hi")
    stream = client.at(other_node.port).open("GET", "/api/chat/kitchen/stream")
    wait_until(lambda: stream.read_bytes(1) == b":", "a heartbeat")
    gate.open()
    assert page.finish().assert_ready().texts == [("user", "hi"), ("assistant", "late")]


def test_another_user_has_another_chat(open_chat: OpenChat, client: Client) -> None:
    open_chat("kitchen").ask("mine")
    stranger = Client(client.port, make_token())
    assert stranger.request("GET", "/api/chat/kitchen").status == 404
    assert stranger.request("GET", "/api/chat/kitchen/stream").status == 204
    assert stranger.request("POST", "/api/chat/kitchen/stop").status == 404
