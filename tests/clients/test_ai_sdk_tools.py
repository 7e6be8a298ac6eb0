"""Vercel's AI SDK with tools that the page runs: calls come in the stream, and their outputs go with the next request."""

import pytest

from tests.clients.test_ai_sdk import OpenChat, open_chat, service
from tests.clients.tool_cases import CITIES, WEATHER, calling
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.steps import done, hold, respond, thought, tokens
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import wait_until

__all__ = ["open_chat", "service"]

TOOLS = [WEATHER]
SUN = {"sky": "sun", "degrees": 20}
QUESTION = "How is the weather?"


def kinds(message: dict) -> list[str]:
    return [part["type"] for part in message["parts"]]


def sent(upstream: ScriptedUpstream) -> list[tuple[str, str | None]]:
    return [(each["role"], each["content"]) for each in upstream.generations()[-1].body["messages"]]


def test_the_page_runs_a_tool(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(thought("Hm."), tokens("Let me look."), *calling(*CITIES), when=QUESTION)
    upstream.script(tokens("Sunny", " everywhere."), done(), when="degrees")
    page = open_chat("kitchen", tools=TOOLS, outputs={"weather": SUN})
    page.send(QUESTION)
    shown = page.settled(text="everywhere.")
    assert (shown["status"], shown["error"]) == ("ready", None)
    assert len(shown["messages"]) == 2
    assert kinds(shown.last) == ["reasoning", "text", "tool-weather", "tool-weather", "step-start", "text"]
    called = [part for part in shown.last["parts"] if part["type"] == "tool-weather"]
    assert [(part["state"], part["input"], part["output"]) for part in called] == [
        ("output-available", {"city": city}, SUN) for city in CITIES
    ]
    first, second = upstream.generations()
    assert (first.body["tools"], second.body["tools"]) == (TOOLS, TOOLS)
    output = '{"sky":"sun","degrees":20}'
    assert sent(upstream) == [("user", QUESTION), ("assistant", "Let me look."), ("tool", output), ("tool", output)]
    # The page that opens later shows the same, and goes on in it.
    later = open_chat("kitchen", tools=TOOLS, outputs={"weather": SUN})
    loaded = later.load()
    assert [(each["id"], each["parts"]) for each in loaded["messages"]][1:] == [(shown.last["id"], shown.last["parts"])]
    upstream.script(tokens("You're welcome."), done(), when="Thanks!")
    later.send("Thanks!")
    assert later.settled(text="welcome.")["status"] == "ready"
    assert [role for role, _ in sent(upstream)] == ["user", "assistant", "tool", "tool", "assistant", "user"]
    assert len(upstream.generations()) == 3


def test_several_rounds(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(*calling("Oslo"), when=QUESTION)
    page = open_chat("kitchen", tools=TOOLS)
    page.send(QUESTION)
    shown = page.waiting(calls=1)
    upstream.script(tokens("Now Rome."), *calling("Oslo", "Rom")[3:], when="first")
    page.do("answer", result={"tool": "weather", "toolCallId": shown.last["parts"][0]["toolCallId"], "output": "first"})
    shown = page.waiting(calls=2)
    upstream.script(tokens("Done."), done(), when="second")
    page.do("answer", result={"tool": "weather", "toolCallId": shown.last["parts"][-1]["toolCallId"], "output": "second"})
    shown = page.settled(text="Done.")
    assert kinds(shown.last) == ["tool-weather", "step-start", "text", "tool-weather", "step-start", "text"]
    assert sent(upstream)[1:] == [("assistant", None), ("tool", "first"), ("assistant", "Now Rome."), ("tool", "second")]
    assert open_chat("kitchen").load().last["parts"] == shown.last["parts"]


def test_a_page_that_is_reloaded_goes_on(
    open_chat: OpenChat, client: Client, upstream: ScriptedUpstream, new_server: StartServer
) -> None:
    upstream.script(*calling("Oslo"), when=QUESTION)
    open_chat("kitchen", tools=TOOLS).ask(QUESTION)
    page = open_chat("kitchen", tools=TOOLS)
    called = page.load().last["parts"][0]
    assert (called["state"], called["input"]) == ("input-available", {"city": "Oslo"})
    gate = upstream.gate()
    upstream.script(tokens("Sunny", " in"), hold(gate), tokens(" Oslo."), done(), when="Sun")
    page.do("answer", result={"tool": "weather", "toolCallId": called["toolCallId"], "output": "Sun"})
    page.until(text="in")
    # Another page comes while the reply is running. It gets the whole message, and does not run the tool again.
    other = open_chat("kitchen", tools=TOOLS, outputs={"weather": "Rain"})
    assert [message["role"] for message in other.load()["messages"]] == ["user"]
    other.begin("resumeStream")
    other.until(text="in")
    gate.open()
    shown = other.finish().last
    kept = page.settled(text="Oslo.").last
    assert (shown["id"], shown["parts"]) == (kept["id"], kept["parts"])
    assert open_chat("kitchen").load().last["parts"] == kept["parts"]
    assert kinds(shown) == ["tool-weather", "step-start", "text"]
    assert len(upstream.generations()) == 2


def test_a_tool_that_fails(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(*calling("Oslo"), when=QUESTION)
    page = open_chat("kitchen", tools=TOOLS)
    called = page.ask(QUESTION).last["parts"][0]["toolCallId"]
    shown = page.look()["messages"]
    failed = {"state": "output-error", "errorText": "No network"}
    shown[-1]["parts"][0].update(failed)
    page.do("show", messages=shown)
    upstream.script(tokens("Sorry."), done(), when="No network")
    page.begin("sendMessage")
    assert kinds(page.finish().last) == ["tool-weather", "step-start", "text"]
    part = open_chat("kitchen").load().last["parts"][0]
    assert {name: part[name] for name in ("toolCallId", *failed)} == {"toolCallId": called, **failed}


def test_another_answer_after_tools(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(*calling("Oslo"), when=QUESTION)
    upstream.script(tokens("Sunny."), done(), when="degrees")
    page = open_chat("kitchen", tools=TOOLS, outputs={"weather": SUN})
    page.send(QUESTION)
    page.settled(text="Sunny.")
    upstream.script(tokens("I don't know."), done())
    page.begin("regenerate")
    shown = page.finish()
    assert (sent(upstream), kinds(shown.last)) == ([("user", QUESTION)], ["text"])
    assert upstream.generations()[-1].body["tools"] == TOOLS
    assert open_chat("kitchen").load()["messages"][-1]["parts"][0]["text"] == "I don't know."


def test_outputs_are_answered_once(open_chat: OpenChat, client: Client, upstream: ScriptedUpstream) -> None:
    upstream.script(*calling("Oslo"), when=QUESTION)
    page = open_chat("kitchen", tools=TOOLS)
    called = page.ask(QUESTION).last["parts"][0]["toolCallId"]
    upstream.script(tokens("Sunny."), done(), when="Sun")
    page.do("repeat")
    page.do("answer", result={"tool": "weather", "toolCallId": called, "output": "Sun"})
    shown = page.settled(text="Sunny.")
    assert (page.do("lost"), len(upstream.generations()), len(shown["messages"])) == (1, 2, 2)


@pytest.mark.parametrize("sends", ["all", "last"])
def test_a_refused_reply_is_asked_for_again(
    sends: str, open_chat: OpenChat, client: Client, upstream: ScriptedUpstream, request: pytest.FixtureRequest
) -> None:
    upstream.script(*calling("Oslo"), when=QUESTION)
    page = open_chat("kitchen", tools=TOOLS, sends=sends)
    called = page.ask(QUESTION).last["parts"][0]["toolCallId"]
    upstream.script(respond(503), when="Sun")
    page.do("answer", result={"tool": "weather", "toolCallId": called, "output": "Sun"})
    asks_on_its_own = request.node.callspec.params["open_chat"] == "ai-5.0.0"
    if asks_on_its_own:
        # Version 5.0.0 sends outputs again and again until they are answered.
        wait_until(lambda: len(upstream.generations("Sun")) > 1, "another try")
    else:
        assert page.settled(text="")["status"] == "error"
    upstream.script(tokens("Sunny."), done(), when="Sun")
    if not asks_on_its_own:
        page.begin("sendMessage")
    assert page.settled(text="Sunny.")["error"] is None
    assert [role for role, _ in sent(upstream)] == ["user", "assistant", "tool"]
