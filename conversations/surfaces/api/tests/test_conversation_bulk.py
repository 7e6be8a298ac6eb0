"""POST /api/conversations/bulk"""

import threading
import uuid
from typing import Any

import pytest
from django.db import OperationalError

from chatapi.tests.clients import UserClient
from conversations.models import Conversation, Message
from conversations.services import bulk
from conversations.services.replies.store import live_replies
from conversations.services.sending.begin import send_turn
from conversations.tags import tag_columns
from conversations.tests.concurrency import with_own_connections
from conversations.tests.factories import NOON, make_conversation, make_message, make_running_reply, minutes
from inference_proxy.protocols.base import Sampling
from tests.support.client import Client

ADDRESS = "/api/conversations/bulk"


def make_list(user: UserClient, count: int, **fields: Any) -> list[Conversation]:
    made = [
        Conversation(user_id=user.user_id, title=f"number {at}", updated_at=NOON - minutes(at), **fields) for at in range(count)
    ]
    return Conversation.objects.bulk_create(made, batch_size=1_000)


def change(user: UserClient, action: str, *conversations: Conversation, **more: Any) -> dict[str, Any]:
    chosen: dict[str, Any] = {"ids": [str(one.id) for one in conversations]} if conversations else {"all": True}
    response = user.post(ADDRESS, {"action": action, **chosen, **more})
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    return answer


def archived() -> set[str]:
    return set(Conversation.objects.filter(is_archived=True).values_list("title", flat=True))


def test_some_are_archived_and_come_back(user: UserClient, stranger: UserClient) -> None:
    first, second, _ = make_list(user, 3)
    theirs, missing = make_conversation(stranger.user_id), Conversation(id=uuid.uuid4())
    answer = change(user, "archive", first, theirs, second, missing, first)
    assert answer == {
        "action": "archive",
        "changed": 2,
        "unchanged": 0,
        "left_out": [{"id": str(one.id), "code": "not_found"} for one in (theirs, missing)],
        "left_out_count": 2,
        "next": None,
    }
    assert archived() == {"number 0", "number 1"}
    answer = change(user, "archive", first, second)
    assert (answer["changed"], answer["unchanged"], answer["left_out"]) == (0, 2, [])
    assert change(user, "unarchive", second)["changed"] == 1
    assert archived() == {"number 0"}
    assert set(Conversation.objects.owned_by(user.user_id).values_list("updated_at", flat=True)) == {
        NOON - minutes(at) for at in range(3)
    }


def test_all_that_match(user: UserClient, stranger: UserClient) -> None:
    make_list(user, 3, is_favorited=True)
    make_list(user, 450)
    make_list(stranger, 1)
    make_conversation(user.user_id, title="unlisted", is_listed=False)
    answer = change(user, "archive", filters={"favorited": False})
    assert (answer["changed"], answer["unchanged"], answer["left_out_count"], answer["next"]) == (450, 0, 0, None)
    assert Conversation.objects.filter(is_archived=True, user_id=user.user_id, is_favorited=False).count() == 450
    assert Conversation.objects.filter(is_archived=True).count() == 450
    assert change(user, "archive", filters={"q": "number 1"})["changed"] == 1
    assert change(user, "unarchive", filters={"q": "NUMBER 44"})["changed"] == 11
    assert change(user, "unarchive")["changed"] == 440
    assert change(user, "archive", filters={"archived": True})["unchanged"] == 0


def test_tags_are_added_and_removed(user: UserClient) -> None:
    plain = make_conversation(user.user_id, title="plain")
    tagged = make_conversation(user.user_id, title="tagged", **tag_columns(["TEA", "Home"]))
    full = make_conversation(user.user_id, title="full", **tag_columns([str(number) for number in range(20)]))
    answer = change(user, "tag", tags=["Tea", "Work"])
    assert (answer["changed"], answer["unchanged"]) == (2, 0)
    assert answer["left_out"] == [{"id": str(full.id), "code": "too_many_tags"}]
    for one in (plain, tagged, full):
        one.refresh_from_db()
    assert (plain.tags, tagged.tags, len(full.tags or ())) == (["Tea", "Work"], ["TEA", "Home", "Work"], 20)
    assert change(user, "tag", plain, tagged, tags=["tea"])["unchanged"] == 2
    assert change(user, "untag", tags=["TEA", "work", "none"], filters={"tag": "tea"})["changed"] == 2
    for one in (plain, tagged):
        one.refresh_from_db()
    assert (plain.tags, plain.tag_keys, tagged.tags, tagged.tag_keys) == (None, None, ["Home"], ["home"])
    assert set(Conversation.objects.values_list("updated_at", flat=True)) == {NOON}


def test_some_are_deleted_with_their_messages(user: UserClient, stranger: UserClient) -> None:
    kept, gone = make_list(user, 2)
    theirs = make_conversation(stranger.user_id)
    for one in (kept, gone, theirs):
        make_message(one)
    answer = change(user, "delete", gone, theirs)
    assert (answer["changed"], answer["left_out"]) == (1, [{"id": str(theirs.id), "code": "not_found"}])
    assert set(Message.objects.values_list("conversation_id", flat=True)) == {kept.id, theirs.id}
    assert change(user, "delete")["changed"] == 1
    assert list(Conversation.objects.all()) == [theirs]


def test_deleting_stops_running_replies(client: Client, conversation: str) -> None:
    client.request("POST", f"/api/conversations/{conversation}/messages", {"content": "hello", "stream": False})
    answer = client.request("POST", ADDRESS, {"action": "delete", "ids": [conversation]})
    assert (answer.status, answer.json["changed"]) == (200, 1)
    assert client.request("GET", f"/api/conversations/{conversation}").status == 404


def test_a_running_reply_goes_on_in_an_archived_conversation(user: UserClient) -> None:
    conversation = make_conversation(user.user_id)
    reply = make_running_reply(make_message(conversation))
    assert change(user, "archive", conversation)["changed"] == 1
    reply.refresh_from_db()
    assert reply.status == "streaming"


def test_a_call_looks_at_a_part_and_leads_on(user: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MOST_EXAMINED", 10)
    monkeypatch.setattr(bulk, "BATCH", 4)
    make_list(user, 25)
    make_conversation(user.user_id, title="without a time", updated_at=None)
    changed, more = [], {}
    while True:
        answer = change(user, "tag", tags=["all"], **more)
        changed.append(answer["changed"])
        if answer["next"] is None:
            break
        more = {"cursor": answer["next"]}
    assert changed == [10, 10, 6]


def test_a_conversation_that_gets_a_turn_meanwhile_is_not_missed(user: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MOST_EXAMINED", 3)
    made = make_list(user, 6)
    cursor = change(user, "archive")["next"]
    # One that the walk has not reached, and one that it has.
    Conversation.objects.filter(id__in=[made[1].id, made[5].id]).update(updated_at=NOON + minutes(5))
    answer = change(user, "archive", cursor=cursor)
    assert (answer["changed"], len(archived())) == (3, 6)


def test_a_call_that_fails_half_way_says_what_was_done(user: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "BATCH", 4)
    make_list(user, 10)
    locked, calls = bulk._locked, []

    def fail_at_the_second(rows: Any) -> Any:
        calls.append(rows)
        if len(calls) == 2:
            raise OperationalError
        return locked(rows)

    monkeypatch.setattr(bulk, "_locked", fail_at_the_second)
    answer = change(user, "archive")
    assert (answer["changed"], len(archived())) == (4, 4)
    answer = change(user, "archive", cursor=answer["next"])
    assert (answer["changed"], answer["next"], len(archived())) == (6, None, 10)


def test_a_call_that_fails_at_once_is_an_error(user: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    make_list(user, 2)

    def fail(rows: Any) -> Any:
        raise OperationalError

    monkeypatch.setattr(bulk, "_locked", fail)
    response = user.post(ADDRESS, {"action": "archive", "all": True})
    assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
    assert archived() == set()


def test_a_call_that_takes_long_ends_after_a_batch(user: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "BATCH", 4)
    monkeypatch.setattr(bulk, "LONGEST_S", -1.0)
    make_list(user, 6)
    answer = change(user, "archive")
    assert (answer["changed"], answer["next"] is None) == (4, False)
    assert change(user, "archive", cursor=answer["next"])["next"] is None


ONE = str(uuid.UUID(int=7))


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"action"}),
        ({"action": "burn", "ids": [ONE]}, {"action"}),
        ({"action": "archive"}, {"ids"}),
        ({"action": "archive", "all": False}, {"ids"}),
        ({"action": "archive", "all": True, "ids": [ONE]}, {"ids"}),
        ({"action": "archive", "ids": []}, {"ids"}),
        ({"action": "archive", "ids": ONE}, {"ids"}),
        ({"action": "archive", "ids": ["seven"]}, {"ids"}),
        ({"action": "archive", "ids": [7]}, {"ids"}),
        ({"action": "archive", "ids": [ONE] * 201}, {"ids"}),
        ({"action": "archive", "ids": [ONE], "filters": {}}, {"filters"}),
        ({"action": "archive", "ids": [ONE], "cursor": "x"}, {"cursor"}),
        ({"action": "archive", "all": "true"}, {"all"}),
        ({"action": "archive", "all": True, "filters": {"archivd": True}}, {"filters"}),
        ({"action": "archive", "all": True, "filters": {"tag": ""}}, {"filters"}),
        ({"action": "archive", "all": True, "filters": []}, {"filters"}),
        ({"action": "archive", "all": True, "filter": {}}, {"filter"}),
        ({"action": "archive", "all": True, "tags": ["x"]}, {"tags"}),
        ({"action": "tag", "all": True}, {"tags"}),
        ({"action": "untag", "all": True, "tags": []}, {"tags"}),
        ({"action": "tag", "all": True, "tags": ["x" * 51]}, {"tags"}),
    ],
    ids=str,
)
def test_bad_input_changes_nothing(user: UserClient, body: dict[str, Any], fields: set[str]) -> None:
    make_conversation(user.user_id, id=uuid.UUID(ONE))
    refused = user.post(ADDRESS, body)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid")
    assert set(refused.json()["fields"]) == fields
    kept = Conversation.objects.get()
    assert (kept.is_archived, kept.tags) == (False, None)


def test_a_bad_cursor(user: UserClient) -> None:
    refused = user.post(ADDRESS, {"action": "archive", "all": True, "cursor": "nonsense"})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid")


def test_only_for_people_who_are_logged_in(anonymous: UserClient) -> None:
    assert anonymous.post(ADDRESS, {"action": "archive", "all": True}).status_code == 401


@pytest.mark.parametrize(
    "q", ["müller", "mu\u0308ller", "MÜLLER", "ｍüller"], ids=["composed", "combining", "capitals", "wide"]
)
def test_the_title_is_compared_as_in_the_list(user: UserClient, q: str) -> None:
    for title in ("Mu\u0308ller & Co", "Ｍüller", "Muller"):
        make_conversation(user.user_id, title=title)
    listed = {item["title"] for item in user.get("/api/conversations", {"q": q}).json()["items"]}
    assert change(user, "archive", filters={"q": q})["changed"] == 2
    assert archived() == listed == {"Mu\u0308ller & Co", "Ｍüller"}


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_ten_thousand_in_one_call_while_the_user_chats(user: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # However slow the machine is.
    monkeypatch.setattr(bulk, "LONGEST_S", 600.0)
    made = make_list(user, 10_000)
    chatting = [made[at] for at in (0, 1, 5_000, 9_998, 9_999)]
    has_ended = threading.Event()

    def archive() -> bulk.BulkResult:
        try:
            return bulk.change_all(user_id=user.user_id, filters=bulk.Filters(), action="archive")
        finally:
            has_ended.set()

    def chat() -> int:
        sent = 0
        while not (has_ended.is_set() and sent >= len(chatting)):
            chosen = chatting[sent % len(chatting)]
            turn = send_turn(conversation_id=chosen.id, user_id=user.user_id, content="hello", sampling=Sampling())
            live_replies.expect_no_longer(turn.reply_id)
            Message.objects.filter(id=turn.reply_id).update(status="complete", content="hi")
            sent += 1
        return sent

    result, sent = with_own_connections(lambda number: (archive, chat)[number](), times=2)
    assert (result.changed, result.unchanged, result.left_out_count, result.last) == (10_000, 0, 0, None)
    assert Conversation.objects.owned_by(user.user_id).filter(is_archived=True).count() == 10_000
    assert Message.objects.count() == 2 * sent
