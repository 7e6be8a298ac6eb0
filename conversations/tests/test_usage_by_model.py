"""Usage by model, and what it cost: in the totals, at /api/usage, and on staff's pages."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from chatapi.tests.clients import UserClient
from conversations.models import Conversation, DailyFigures, Message, UsageTotal
from conversations.services.history.move import move_history
from conversations.services.replies.store import DatabaseReplyStore
from conversations.services.sending.begin import send_turn
from conversations.services.staff.daily_figures import costs_by_model, count_days
from conversations.services.usage.model_prices import parse_prices
from conversations.services.usage.totals import has_uncounted
from conversations.tests.ending import end
from conversations.tests.factories import NOON, USER_ID, make_conversation, make_message, make_reply, make_running_reply
from conversations.tests.test_replies import finished
from conversations.tests.test_usage import totals_locked
from inference_proxy.protocols.base import Sampling

pytestmark = [pytest.mark.django_db, pytest.mark.one_day]
PRICES = parse_prices("MODEL_PRICES", '{"dear": {"prompt": 10, "completion": 100}, "cheap": {"prompt": 0, "completion": 1}}')
Manage = Callable[..., Any]


@pytest.fixture
def prices(settings: Any) -> None:
    settings.MODEL_PRICES, settings.MODEL_PRICES_CURRENCY = PRICES, "USD"


def reply(model: str, tokens: int, prompt_tokens: int | None, user_id: UUID = USER_ID, **values: Any) -> Any:
    """Have a reply of a model begin and end."""
    conversation = make_conversation(user_id)
    turn = send_turn(conversation_id=conversation.id, user_id=user_id, content="hi", sampling=Sampling())
    end(turn, text="x", token_count=tokens, prompt_tokens=prompt_tokens, model_tag=model, **values)
    return turn


def by_model(user_id: UUID = USER_ID) -> dict[str, list[int]]:
    """Return what each model has, in all quarters of an hour together."""
    sums: dict[str, list[int]] = {}
    for total in UsageTotal.objects.filter(user_id=user_id):
        for model, parts in (total.by_model or {}).items():
            sums[model] = [one + other for one, other in zip(parts, sums.get(model, [0] * len(parts)), strict=True)]
    return sums


def test_each_model_has_its_own_totals() -> None:
    reply("dear", 5, 7)
    reply("dear", 1, None, inference_time_ms=20)
    reply("cheap", 3, 2)
    assert by_model() == {"dear": [2, 6, 7, 30, 1], "cheap": [1, 3, 2, 10, 0]}
    [total] = UsageTotal.objects.all()  # one transaction, one time
    assert (total.messages, total.replies, total.tokens, total.prompt_tokens) == (3, 3, 9, 9)


def test_an_end_that_is_saved_again_counts_once() -> None:
    asked = make_message(make_conversation())
    running = make_running_reply(asked, "so far")
    turn: Any = type("Turn", (), {"reply_id": running.id})
    DatabaseReplyStore().interrupt([running.id])
    for _ in range(2):
        end(turn, text="x", token_count=4, prompt_tokens=3, model_tag="dear")
    assert by_model() == {"dear": [1, 4, 3, 10, 0]}


@pytest.mark.django_db(transaction=True)
def test_a_reply_whose_totals_were_locked_is_counted_later() -> None:
    reply("dear", 1, 1)
    running = make_running_reply(make_message(make_conversation(), created_at=datetime.now(UTC)), created_at=datetime.now(UTC))
    store = DatabaseReplyStore()
    with totals_locked():
        store.finish(finished(running, token_count=2, prompt_tokens=None, inference_time_ms=5, model_tag="dear"))
        assert has_uncounted() and by_model()["dear"][0] == 1
    while has_uncounted():
        store.count_uncounted()
    assert by_model() == {"dear": [2, 3, 1, 15, 1]}


def test_a_node_of_the_version_before_counts_beside_it() -> None:
    reply("dear", 5, 7)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE usage_totals SET replies = replies + 1, tokens = tokens + 100")
    reply("dear", 1, 1)
    assert by_model() == {"dear": [2, 6, 8, 20, 0]}


def test_moving_adds_up_by_model() -> None:
    other = uuid4()
    reply("dear", 5, 7)
    reply("cheap", 1, 1)
    reply("dear", 2, 3, other)
    move_history(from_user=USER_ID, to_user=other)
    assert by_model(other) == {"dear": [2, 7, 10, 20, 0], "cheap": [1, 1, 1, 10, 0]}


def test_moving_to_somebody_without_usage_keeps_it() -> None:
    other = uuid4()
    reply("dear", 5, 7)
    move_history(from_user=USER_ID, to_user=other)
    assert by_model(other) == {"dear": [1, 5, 7, 10, 0]}


def test_counting_anew_knows_the_models_and_counts_nothing_twice(manage_json: Manage) -> None:
    asked = make_message(make_conversation(), created_at=NOON)
    for model, tokens in (("dear", 5), ("dear", 6), ("cheap", 1), ("", 9)):
        make_reply(asked, token_count=tokens, inference_time_ms=1, model_tag=model, created_at=NOON, is_active=False)
    assert manage_json("count_usage")["changed"] == 1
    assert by_model() == {"dear": [2, 11, 0, 2, 2], "cheap": [1, 1, 0, 1, 1]}
    assert UsageTotal.objects.get().tokens == 21
    assert manage_json("count_usage")["changed"] == 0
    UsageTotal.objects.update(by_model={"dear": [3, 1, 0, 0, 0], "gone": [1, 1, 1, 1, 0]})
    assert manage_json("count_usage")["changed"] == 1
    assert by_model() == {"dear": [3, 11, 0, 2, 2], "cheap": [1, 1, 0, 1, 1], "gone": [1, 1, 1, 1, 0]}


def test_counting_anew_leaves_running_replies_to_their_ends(manage_json: Manage) -> None:
    asked = make_message(make_conversation(), created_at=NOON)
    make_reply(asked, token_count=5, inference_time_ms=1, model_tag="dear", created_at=NOON, is_active=False)
    running = make_running_reply(asked, "so far", model_tag="dear", created_at=NOON)
    manage_json("count_usage")
    assert by_model() == {"dear": [1, 5, 0, 1, 1]}
    end(type("Turn", (), {"reply_id": running.id}), text="x", token_count=4, prompt_tokens=3, model_tag="dear")
    assert by_model() == {"dear": [2, 9, 3, 11, 1]}


# --- /api/usage -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("prices")
def test_usage_with_costs_by_model(user: UserClient) -> None:
    reply("dear", 5, 7, user.user_id)
    reply("cheap", 3, None, user.user_id)
    report = user.get("/api/usage?days=2&by=model").json()
    assert report["currency"] == "USD"
    assert report["models"] == [
        {"model_tag": "dear", "replies": 1, "tokens": 5, "prompt_tokens": 7, "inference_time_ms": 10}
        | {"cost": 0.00057, "known_cost": 0.00057},
        {"model_tag": "cheap", "replies": 1, "tokens": 3, "prompt_tokens": 0, "inference_time_ms": 10}
        | {"cost": 0.000003, "known_cost": 0.000003},
    ]
    assert report["total"]["cost"] == report["days"][1]["cost"] == 0.000573
    assert report["days"][0]["cost"] == 0
    assert "models" not in user.get("/api/usage?days=2").json()


@pytest.mark.usefixtures("prices")
def test_what_is_unknown_is_null_and_not_zero(user: UserClient) -> None:
    reply("dear", 5, 7, user.user_id)
    reply("dear", 1, None, user.user_id)
    reply("free for all we know", 1, 1, user.user_id)
    UsageTotal.objects.update(tokens=100, replies=5)
    report = user.get("/api/usage?by=model").json()
    costs = {usage["model_tag"]: (usage["tokens"], usage["cost"], usage["known_cost"]) for usage in report["models"]}
    assert costs == {None: (93, None, 0), "dear": (6, None, 0), "free for all we know": (1, None, 0)}
    assert (report["total"]["cost"], report["total"]["known_cost"]) == (None, 0)


@pytest.mark.usefixtures("prices")
def test_what_others_used_is_theirs(user: UserClient) -> None:
    reply("dear", 5, 7, uuid4())
    assert user.get("/api/usage?by=model").json()["models"] == []


@pytest.mark.usefixtures("prices")
def test_a_reply_without_tokens_costs_nothing_whatever_its_model(user: UserClient) -> None:
    reply("free for all we know", 0, 0, user.user_id)
    assert user.get("/api/usage?by=model").json()["total"]["cost"] == 0


def test_without_prices_nothing_has_a_cost(user: UserClient) -> None:
    reply("dear", 5, 7, user.user_id)
    report = user.get("/api/usage").json()
    assert (report["total"]["cost"], report["total"]["known_cost"], report["currency"]) == (None, None, "")
    assert "models" not in report
    [usage] = user.get("/api/usage?by=model").json()["models"]
    assert (usage["model_tag"], usage["tokens"], usage["cost"], usage["known_cost"]) == ("dear", 5, None, None)


@pytest.mark.usefixtures("prices")
def test_deleting_changes_no_cost(user: UserClient) -> None:
    reply("dear", 5, 7, user.user_id)
    before = user.get("/api/usage?by=model").json()
    Conversation.objects.all().delete()
    assert user.get("/api/usage?by=model").json() == before


def test_a_price_that_begins_later_leaves_earlier_costs(user: UserClient, settings: Any) -> None:
    today = datetime.now(UTC).date()
    settings.MODEL_PRICES = parse_prices(
        "MODEL_PRICES",
        json.dumps({"dear": [{"prompt": 0, "completion": 1}, {"since": str(today), "prompt": 0, "completion": 5}]}),
    )
    for days in (0, 1):
        bucket = datetime(today.year, today.month, today.day, tzinfo=UTC) - timedelta(days=days)
        UsageTotal.objects.create(
            user_id=user.user_id, bucket=bucket, replies=1, tokens=10, by_model={"dear": [1, 10, 0, 0, 1]}
        )
    assert [day["cost"] for day in user.get("/api/usage?days=2").json()["days"]] == [0.00001, 0.00005]


def test_another_way_to_break_it_down_is_refused(user: UserClient) -> None:
    assert user.get("/api/usage?by=moon").status_code == 400


# --- Staff ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("boss", password="a long password of the boss"))
    return client


@pytest.mark.usefixtures("prices")
def test_staff_see_what_a_reply_and_a_user_cost(staff: Client) -> None:
    turn = reply("dear", 5000, 7000)
    conversation = Message.objects.get(id=turn.reply_id).conversation_id
    read = staff.get(f"/admin/conversations/conversation/{conversation}/change/", secure=True)
    assert "0.57 USD" in read.text
    person = staff.get(f"/admin/conversations/chatuser/{USER_ID}/change/", secure=True)
    assert "0.57 USD" in person.text and "dear" in person.text
    reply("unpriced", 1, 1)
    assert (
        "cost unknown"
        in staff.get(
            f"/admin/conversations/conversation/{Message.objects.get(model_tag='unpriced').conversation_id}/change/",
            secure=True,
        ).text
    )
    dashboard = staff.get("/admin/conversations/conversation/dashboard/", secure=True)
    assert "Known cost, in hundredths of USD" in dashboard.text and "0.57 USD" in dashboard.text


@pytest.mark.usefixtures("prices")
def test_staff_see_no_cost_of_a_reply_that_a_client_brought(staff: Client) -> None:
    asked = make_message(make_conversation())
    brought = make_reply(asked, token_count=5000, prompt_tokens=7000, model_tag="dear", source="client")
    address = f"/admin/conversations/conversation/{asked.conversation_id}/change/"
    assert "USD" not in staff.get(address, secure=True).text
    Message.objects.filter(id=brought.id).update(source=None)
    assert "0.57 USD" in staff.get(address, secure=True).text


@pytest.mark.usefixtures("prices")
def test_staff_see_that_a_cost_is_known_in_part(staff: Client) -> None:
    reply("dear", 5000, 7000)
    person = f"/admin/conversations/chatuser/{USER_ID}/change/"
    assert "at least" not in staff.get(person, secure=True).text
    today = UsageTotal.objects.get()
    unmeasured = {"dear": [1, 10, 0, 0, 1]}
    UsageTotal.objects.create(
        user_id=USER_ID, bucket=today.bucket - timedelta(days=1), replies=1, tokens=10, by_model=unmeasured
    )
    assert "at least 0.57 USD" in staff.get(person, secure=True).text


@pytest.mark.usefixtures("prices")
def test_the_dashboard_s_days_have_costs_by_model() -> None:
    asked = make_message(make_conversation(), created_at=NOON)
    for model, tokens, prompt in (("dear", 5, 7), ("cheap", 3, None), ("", 2, None)):
        make_reply(asked, token_count=tokens, prompt_tokens=prompt, inference_time_ms=1, model_tag=model, created_at=NOON)
    figures = count_days([NOON.date()])[NOON.date()]
    assert figures.by_model == {"dear": [1, 5, 7, 1, 0], "cheap": [1, 3, 0, 1, 1]}
    old = DailyFigures(day=NOON.date(), sent=0, replies=1, tokens=9, active_users=0, failures=0)
    [cost, of_old], models = costs_by_model([figures, old])
    assert (round(cost.known, 9), cost.is_whole) == (round(573 / 1_000_000, 9), False) or float(cost.known) == 0.000573
    assert of_old.whole is None
    assert {one.model: one.tokens for one in models} == {"dear": 5, "cheap": 3, None: 11}
