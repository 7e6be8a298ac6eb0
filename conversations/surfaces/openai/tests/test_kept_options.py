"""GET /v1/responses/{id} where the options that were kept have an odd form, as an imported archive may bring them."""

from typing import Any

import pytest

from chatapi.tests.clients import UserClient
from conversations.models import Message
from conversations.surfaces.openai.identifiers import response_form
from conversations.tests.factories import make_conversation

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "options",
    [[1], "text", 7, {"previous_response_id": "nonsense"}, {"previous_response_id": 7}, {"metadata": 7}, {"temperature": {}}],
)
def test_odd_options_are_left_out(user: UserClient, options: Any) -> None:
    conversation = make_conversation(user_id=user.user_id)
    asked = Message.objects.create(conversation=conversation, role="user", content="hi")
    reply = Message.objects.create(
        conversation=conversation,
        role="assistant",
        content="yes",
        parent_id=asked.id,
        status="complete",
        request_options=options,
    )
    address = f"/v1/responses/{response_form(reply.id)}"
    answer = user.get(address)
    assert answer.status_code == 200, answer.json()
    assert (answer.json()["previous_response_id"], answer.json()["metadata"]) == (None, {})
    assert user.get(f"{address}/input_items").status_code == 200
