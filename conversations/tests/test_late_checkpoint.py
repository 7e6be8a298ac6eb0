"""A checkpoint that comes after its reply was saved for good changes nothing."""

from datetime import UTC, datetime

import pytest

from conversations.models import Message, Status
from conversations.services.replies.store import DatabaseReplyStore
from conversations.tests.factories import make_conversation, make_message, make_running_reply
from inference_proxy.replies.store import Draft, FinishedReply

pytestmark = pytest.mark.django_db(transaction=True)


def running_reply() -> Message:
    return make_running_reply(make_message(make_conversation()))


def ended(reply: Message, status, text: str) -> FinishedReply:
    return FinishedReply(
        reply_id=reply.id,
        status=status,
        text=text,
        error_code="",
        token_count=2,
        prompt_tokens=None,
        inference_time_ms=10,
        first_token_ms=1,
        finish_reason="",
        reasoning="all its reasoning",
    )


@pytest.mark.parametrize("status", ["complete", "stopped", "interrupted", "failed"])
def test_a_late_checkpoint_puts_no_older_text_back(status: str) -> None:
    reply = running_reply()
    store = DatabaseReplyStore()
    store.finish(ended(reply, status, "the whole text"))
    store.checkpoint([Draft(reply.id, "the", reasoning="all")])
    reply.refresh_from_db()
    assert (reply.content, reply.reasoning, reply.status) == ("the whole text", "all its reasoning", status)


def test_an_earlier_generation_changes_nothing_in_a_reply_that_is_continued() -> None:
    reply = running_reply()
    store = DatabaseReplyStore()
    store.finish(ended(reply, "interrupted", "the text"))
    Message.objects.filter(id=reply.id).update(status=Status.STREAMING, continuations=1)
    assert store.checkpoint([Draft(reply.id, "the")]).deleted == {reply.id}
    assert store.finish(ended(reply, "complete", "another text")) == "interrupted"
    reply.refresh_from_db()
    assert (reply.content, reply.status) == ("the text", "streaming")
    store.checkpoint([Draft(reply.id, "the text and more", continuation=1)])
    Message.objects.filter(id=reply.id).update(status=Status.INTERRUPTED, heartbeat_at=datetime.now(UTC))
    store.checkpoint([Draft(reply.id, "the text and even more", continuation=1)])
    reply.refresh_from_db()
    assert reply.content == "the text and even more"


def test_a_checkpoint_goes_on_where_the_reply_was_taken_for_abandoned() -> None:
    reply = running_reply()
    Message.objects.filter(id=reply.id).update(status=Status.INTERRUPTED)
    DatabaseReplyStore().checkpoint([Draft(reply.id, "goes on", reasoning="thinks")])
    DatabaseReplyStore().checkpoint([Draft(reply.id, None)])
    reply.refresh_from_db()
    assert (reply.content, reply.reasoning, reply.status) == ("goes on", "thinks", "interrupted")
