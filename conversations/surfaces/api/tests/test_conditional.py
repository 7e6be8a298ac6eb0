"""ETag, If-None-Match and If-Match of conversations, messages and their lists."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.client import Answer, Client
from tests.support.parallel import at_once
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream

Places = dict[str, str]


@pytest.fixture
def places(client: Client, conversation: str) -> Places:
    client.ask(conversation, "hello")
    question, reply = client.messages(conversation)
    here = f"/api/conversations/{conversation}"
    return {
        "list": "/api/conversations",
        "conversation": here,
        "page": f"{here}?limit=1",
        "messages": f"{here}/messages",
        "question": f"{here}/messages/{question['id']}",
        "reply": f"{here}/messages/{reply['id']}",
    }


def tag_of(answer: Answer) -> str:
    assert answer.status in (200, 201), answer
    return answer.headers["ETag"]


@pytest.mark.parametrize("place", ["list", "conversation", "page", "messages", "question", "reply"])
def test_what_has_not_changed_is_a_304(client: Client, places: Places, place: str) -> None:
    first = client.request("GET", places[place])
    for known in (tag_of(first), f'"other", {tag_of(first)}', f"W/{tag_of(first)}", "*"):
        again = client.request("GET", places[place], headers={"If-None-Match": known})
        assert (again.status, again.content, again.headers["ETag"]) == (304, b"", tag_of(first))
    assert client.request("GET", places[place], headers={"If-None-Match": '"other"'}).content == first.content


@pytest.mark.parametrize("place", ["list", "conversation", "messages", "reply"])
def test_a_change_is_seen(client: Client, places: Places, place: str) -> None:
    before = {"If-None-Match": tag_of(client.request("GET", places[place]))}
    client.request("PATCH", places["conversation"], {"title": "Tea"})
    client.request("PUT", f"{places['reply']}/feedback", {"rating": 1})
    assert client.request("GET", places[place], headers=before).status == 200


CHANGES: dict[str, Callable[[Client, Places, dict[str, str]], Answer]] = {
    "patch": lambda client, places, headers: client.request("PATCH", places["conversation"], {"title": "Tea"}, headers),
    "put": lambda client, places, headers: client.request("PUT", places["conversation"], {"title": "Tea"}, headers),
    "delete": lambda client, places, headers: client.request("DELETE", places["conversation"], None, headers),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_needs_the_state_that_was_read(client: Client, places: Places, change: Any) -> None:
    read = tag_of(client.request("GET", places["conversation"]))
    client.request("PATCH", places["conversation"], {"is_favorited": True})
    refused = change(client, places, {"If-Match": read})
    assert (refused.status, refused.json["code"]) == (412, "precondition_failed")
    unchanged = client.get(places["conversation"])
    assert (unchanged["title"], unchanged["is_favorited"]) == ("hello", True)
    now = tag_of(client.request("GET", places["page"]))
    for any_of in (f'"other", W/{now}', "*")[: 1 if change is CHANGES["delete"] else 2]:
        allowed = change(client, places, {"If-Match": any_of})
        assert allowed.status in (200, 204), allowed


def test_the_tag_of_a_change_is_good_for_the_next_one(client: Client) -> None:
    created = client.request("POST", "/api/conversations", {})
    address = f"/api/conversations/{created.json['id']}"
    changed = client.request("PATCH", address, {"title": "Tea"}, {"If-Match": tag_of(created)})
    again = client.request("PATCH", address, {"title": "Cake"}, {"If-Match": tag_of(changed)})
    assert (again.status, again.json["title"]) == (200, "Cake")
    assert client.request("PATCH", address, {"title": "Pie"}, {"If-Match": tag_of(created)}).status == 412


def test_a_running_reply_keeps_nobody_from_renaming(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("one "), hold(gate), tokens("two"), done())
    stream = client.send(conversation, "count")
    stream.read_until("one ")
    running = tag_of(client.request("GET", f"/api/conversations/{conversation}"))
    gate.open()
    stream.finish()
    renamed = client.request("PATCH", f"/api/conversations/{conversation}", {"title": "Tea"}, {"If-Match": running})
    assert renamed.status == 200


def test_of_simultaneous_changes_with_one_tag_one_is_made(client: Client, conversation: str) -> None:
    address = f"/api/conversations/{conversation}"
    read = {"If-Match": tag_of(client.request("GET", address))}
    answers = at_once(lambda number: client.request("PATCH", address, {"title": f"Tea {number}"}, read).status, 8)
    assert sorted(answers) == [200] + [412] * 7


def test_of_simultaneous_edits_with_one_tag_one_is_made(client: Client, conversation: str, places: Places) -> None:
    read = {"If-Match": tag_of(client.request("GET", places["question"]))}
    body = {"content": "hi", "stream": False, "when_busy": "interrupt"}
    answers = at_once(lambda _: client.request("PUT", places["question"], body, read).status, 4)
    assert answers.count(412) == 3, answers
    assert client.get(places["question"])["versions"] == 2


def test_a_rating_needs_the_state_that_was_read(client: Client, places: Places) -> None:
    rate = f"{places['reply']}/feedback"
    read = tag_of(client.request("GET", places["reply"]))
    rated = client.request("PUT", rate, {"rating": 1}, {"If-Match": read})
    assert client.request("PUT", rate, {"rating": -1}, {"If-Match": read}).status == 412
    assert client.request("PUT", rate, {"rating": -1}, {"If-Match": tag_of(rated)}).status == 200
