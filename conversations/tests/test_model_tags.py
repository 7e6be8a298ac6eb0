"""Which model a conversation may name, and which one its turns use."""

from typing import Any
from uuid import UUID, uuid4

import pytest
import responses

from chatapi.tests.clients import UserClient
from conversations.models import Assistant, Conversation, Message
from conversations.services.sending.begin import edit_turn, regenerate_turn, send_turn
from conversations.tests.factories import make_conversation
from inference_proxy.protocols.base import Sampling

pytestmark = pytest.mark.django_db
LIST = {"data": [{"id": "small"}, {"id": "large"}]}


@pytest.fixture
def models(settings: Any, outbound: responses.RequestsMock) -> responses.BaseResponse:
    """An OpenAI-compatible service that lists `small` and `large`."""
    settings.INFERENCE_PROTOCOL = "openai"
    return outbound.get(f"{settings.INFERENCE_SERVICE_URL}/v1/models", json=LIST)


@pytest.fixture
def no_models(settings: Any, outbound: responses.RequestsMock) -> responses.BaseResponse:
    """One whose list can't be had."""
    settings.INFERENCE_PROTOCOL = "openai"
    return outbound.get(f"{settings.INFERENCE_SERVICE_URL}/v1/models", status=503)


def requests_that_choose(conversation_id: UUID, model_tag: str) -> dict[str, tuple[str, str, dict[str, Any], int]]:
    return {
        "create": ("post", "/api/conversations", {"model_tag": model_tag}, 201),
        "put": ("put", f"/api/conversations/{conversation_id}", {"title": "T", "model_tag": model_tag}, 200),
        "patch": ("patch", f"/api/conversations/{conversation_id}", {"model_tag": model_tag}, 200),
        "contract create": ("post", "/conversations", {"title": "T", "model_tag": model_tag}, 201),
        "contract patch": ("patch", f"/conversations/{conversation_id}", {"model_tag": model_tag}, 200),
    }


HOW = list(requests_that_choose(uuid4(), ""))


def choose(user: UserClient, conversation: Conversation, how: str, model_tag: str) -> Any:
    method, path, body, expected = requests_that_choose(conversation.id, model_tag)[how]
    response = getattr(user, method)(path, body)
    assert response.status_code in (expected, 400), response.content
    return response


@pytest.mark.parametrize("how", HOW)
def test_a_model_that_is_not_listed_is_refused_by_name(user: UserClient, models: Any, how: str) -> None:
    conversation = make_conversation(user.user_id)
    response = choose(user, conversation, how, "huge")
    assert (response.status_code, response.json()["code"]) == (400, "invalid")
    assert list(response.json()["fields"]) == ["model_tag"]
    assert list(Conversation.objects.values_list("model_tag", flat=True)) == ["default"]


@pytest.mark.parametrize("tag", ["small", "large", "default"])
@pytest.mark.parametrize("how", HOW)
def test_a_model_that_is_listed_is_taken(user: UserClient, models: Any, how: str, tag: str) -> None:
    assert choose(user, make_conversation(user.user_id), how, tag).json()["model_tag"] == tag


@pytest.mark.parametrize("how", HOW)
def test_the_operators_list_decides(user: UserClient, settings: Any, how: str) -> None:
    settings.ALLOWED_MODELS = frozenset({"large"})
    conversation = make_conversation(user.user_id)
    assert choose(user, conversation, how, "small").status_code == 400
    assert choose(user, conversation, how, "large").json()["model_tag"] == "large"


@pytest.mark.parametrize("how", HOW)
def test_without_a_list_the_default_can_be_chosen_and_nothing_else(user: UserClient, no_models: Any, how: str) -> None:
    conversation = make_conversation(user.user_id)
    assert choose(user, conversation, how, "small").status_code == 400
    assert choose(user, conversation, how, "default").status_code < 300
    assert no_models.call_count == 1


def test_the_default_calls_no_service(user: UserClient, models: Any) -> None:
    for body in ({}, {"model_tag": None}, {"model_tag": ""}, {"model_tag": "default"}):
        assert user.post("/api/conversations", body).status_code == 201
    conversation = make_conversation(user.user_id)
    assert user.patch(f"/api/conversations/{conversation.id}", {"title": "T"}).status_code == 200
    assert send(conversation) == "default"
    assert models.call_count == 0


def test_many_choices_are_one_call(user: UserClient, models: Any) -> None:
    for tag in ("small", "huge", "large", "small"):
        user.post("/api/conversations", {"model_tag": tag})
    assert models.call_count == 1


@pytest.mark.parametrize("how", ["put", "patch", "contract patch"])
def test_the_model_that_is_there_can_be_sent_back(user: UserClient, models: Any, how: str) -> None:
    conversation = make_conversation(user.user_id, model_tag="withdrawn")
    assert choose(user, conversation, how, "withdrawn").status_code == 200


def test_where_requests_name_no_model_any_tag_is_taken(user: UserClient) -> None:
    assert user.post("/api/conversations", {"model_tag": "a name"}).status_code == 201


# --- Turns -------------------------------------------------------------------------------------------------------------------


def send(conversation: Conversation) -> str:
    turn = send_turn(conversation_id=conversation.id, user_id=conversation.user_id, content="hello", sampling=Sampling())
    return model_of(turn)


def model_of(turn: Any) -> str:
    assert turn.request is not None
    reply = Message.objects.get(id=turn.reply_id)
    assert reply.model_tag == turn.request.model_tag
    Message.objects.filter(id=turn.reply_id).update(status="complete", content="so")
    return str(turn.request.model_tag)


def test_a_turn_uses_the_conversation_s_model(models: Any) -> None:
    assert send(make_conversation(uuid4(), model_tag="large")) == "large"


def test_a_model_that_is_not_allowed_any_more_is_not_asked_for(models: Any) -> None:
    conversation = make_conversation(uuid4(), model_tag="withdrawn")
    assert send(conversation) == "default"
    verbs: dict[str, Any] = {"conversation_id": conversation.id, "user_id": conversation.user_id, "sampling": Sampling()}
    assert model_of(regenerate_turn(**verbs)) == "default"
    asked = Message.objects.get(conversation=conversation, role="user")
    assert model_of(edit_turn(**verbs, message_id=asked.id, content="hello again")) == "default"
    assert models.call_count == 1
    conversation.refresh_from_db()
    assert conversation.model_tag == "withdrawn"


def test_then_the_assistant_s_model_is_used(models: Any) -> None:
    """Staff may choose what they like for an assistant."""
    assistant = Assistant.objects.create(name="A", model_tag="staff-only")
    assert send(make_conversation(uuid4(), model_tag="withdrawn", assistant=assistant)) == "staff-only"
    assert send(make_conversation(uuid4(), assistant=assistant)) == "staff-only"
    assert send(make_conversation(uuid4(), model_tag="large", assistant=assistant)) == "large"


def test_without_a_list_a_conversation_keeps_its_model(no_models: Any) -> None:
    assert send(make_conversation(uuid4(), model_tag="small")) == "small"


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_the_list_is_read(settings: Any, outbound: responses.RequestsMock) -> None:
    from django.db import connection

    settings.INFERENCE_PROTOCOL = "openai"
    held: list[bool] = []

    def answer(_: Any) -> tuple[int, dict[str, str], str]:
        held.append(connection.connection is not None)
        return 200, {}, '{"data": [{"id": "small"}]}'

    outbound.add_callback(responses.GET, f"{settings.INFERENCE_SERVICE_URL}/v1/models", answer)
    assert send(make_conversation(uuid4(), model_tag="small")) == "small"
    assert held == [False]
