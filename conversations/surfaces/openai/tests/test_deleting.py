"""Which answer counts when the one that did is deleted."""

import pytest

from conversations.surfaces.openai.deleting import delete_item, delete_reply
from conversations.tests.factories import USER_ID, make_conversation, make_message, make_reply

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("is_item", [False, True], ids=["response", "item"])
def test_a_whole_answer_counts_next_and_not_a_newer_one_that_broke_off(*, is_item: bool) -> None:
    conversation = make_conversation()
    asked = make_message(conversation, "question")
    make_reply(asked, "whole", is_active=False)
    make_reply(asked, "half", status="interrupted", is_active=False)
    deleted = make_reply(asked, "another")
    make_message(conversation, "after", follows_id=deleted.id)
    if is_item:
        delete_item(conversation_id=conversation.id, user_id=USER_ID, item_id=deleted.id, is_reasoning=False)
    else:
        delete_reply(reply_id=deleted.id, user_id=USER_ID)
    active = conversation.messages.active_branch().oldest_first()
    assert list(active.values_list("content", flat=True)) == ["question", "whole", "after"]
    assert not conversation.messages.filter(id=deleted.id).exists()
