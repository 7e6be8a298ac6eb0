"""GET /api/v1/chat/{session_id}/history, and which sessions exist for whom"""

import pytest

from conversations.surfaces.conftest import MakeAssistant
from conversations.surfaces.sessions.tests.calls import history, new_key, say
from tests.support.client import Client


def test_a_long_history_comes_in_pages(client: Client) -> None:
    for text in ("one", "two"):
        say(client, "s", text).finish()
    page = client.request("GET", "/api/v1/chat/s/history?limit=3")
    assert [item["text"] for item in page.json["messages"]] == ["one", "two", "two"]
    older = client.get(page.headers["Link"].partition(">")[0][1:])
    assert [item["text"] for item in older["messages"]] == ["one"]


def test_sessions_of_two_users_with_one_name_are_two(client: Client, other_client: Client) -> None:
    say(client, "same", "mine").finish()
    say(other_client, "same", "theirs").finish()
    assert history(client, "same")[0] == ("user", "mine")
    assert history(other_client, "same")[0] == ("user", "theirs")


def test_to_everyone_else_a_session_does_not_exist(client: Client, other_client: Client, anonymous_client: Client) -> None:
    key = new_key()
    say(client, key, "mine").finish()
    for other in (other_client, anonymous_client):
        assert other.request("GET", f"/api/v1/chat/{key}/history").status == 404
        assert other.request("DELETE", f"/api/v1/chat/{key}").status == 404
    assert len(history(client, key)) == 2


def test_a_user_has_no_way_into_an_anonymous_session(
    client: Client, anonymous_client: Client, make_assistant: MakeAssistant
) -> None:
    key = new_key()
    say(anonymous_client, key, "secret", assistant_id=make_assistant(public=True)).finish()
    assert client.request("GET", f"/api/v1/chat/{key}/history").status == 404
    assert client.request("DELETE", f"/api/v1/chat/{key}").status == 404
    assert len(history(anonymous_client, key)) == 2


def test_a_session_that_was_never_used_does_not_exist(client: Client) -> None:
    assert client.request("GET", "/api/v1/chat/unused/history").status == 404
    assert client.request("DELETE", "/api/v1/chat/unused").status == 404


@pytest.mark.parametrize("name", ["%00", "a%00b", "kitchen%0A", "stream", "x" * 201, "%F0%9F%8E%88"])
def test_a_name_that_no_session_can_have_does_not_exist(client: Client, name: str) -> None:
    assert client.request("GET", f"/api/v1/chat/{name}/history").status == 404
    # "stream" is an address of its own, which takes no DELETE.
    assert client.request("DELETE", f"/api/v1/chat/{name}").status == (405 if name == "stream" else 404)
