"""What the database itself refuses, whoever writes to it."""

import uuid
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from conversations.models import Assistant, Conversation, Message
from conversations.new_ids import new_id
from conversations.tests.factories import USER_ID, make_conversation, make_message, make_reply, make_running_reply

pytestmark = pytest.mark.django_db


def refuses(constraint: str, action: Any) -> None:
    with pytest.raises(IntegrityError) as refusal, transaction.atomic():
        action()
    assert constraint in str(refusal.value)


def execute(sql: str, *values: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description else []


def test_one_running_reply_in_a_conversation() -> None:
    asked = make_message(make_conversation())
    running = make_running_reply(asked)
    refuses("uq_messages_running", lambda: make_running_reply(asked))
    Message.objects.filter(id=running.id).update(status="complete")
    make_running_reply(asked)
    make_running_reply(make_message(make_conversation()))


def test_one_message_for_an_idempotency_key() -> None:
    conversation = make_conversation()
    make_message(conversation, idempotency_key="k")
    refuses("uq_messages_idempotency", lambda: make_message(conversation, idempotency_key="k"))
    make_message(make_conversation(), idempotency_key="k")
    make_message(conversation, idempotency_key=None)
    make_message(conversation, idempotency_key=None)


def test_a_session_belongs_to_one_user() -> None:
    make_conversation(session_id="s")
    refuses("uq_conversations_session", lambda: make_conversation(session_id="s"))
    make_conversation(uuid.uuid4(), session_id="s")
    make_conversation(None, session_id="s")
    refuses("uq_conversations_anonymous_session", lambda: make_conversation(None, session_id="s"))


@pytest.mark.parametrize(
    ("constraint", "fields"),
    [
        ("ck_messages_role", {"role": "tool"}),
        ("ck_messages_status", {"status": "thinking"}),
        ("ck_messages_feedback", {"feedback": 0}),
        ("ck_messages_feedback", {"feedback": 2}),
    ],
)
def test_values_that_mean_nothing(constraint: str, fields: dict[str, Any]) -> None:
    conversation = make_conversation()
    refuses(constraint, lambda: make_message(conversation, **fields))


@pytest.mark.parametrize("fields", [{"temperature": 2.1}, {"max_tokens": 0}, {"max_tokens": 131_073}, {"top_k": 201}])
def test_an_assistant_samples_within_bounds(fields: dict[str, Any]) -> None:
    refuses("ck_assistants_sampling", lambda: Assistant.objects.create(name="A", **fields))


def test_a_message_needs_its_conversation() -> None:
    def insert() -> None:
        execute("INSERT INTO messages (conversation_id, role, content) VALUES (%s, 'user', 'x')", uuid.uuid4())

    refuses("messages_conversation_id_fkey", insert)


def test_messages_go_with_their_conversation() -> None:
    conversation, other = make_conversation(), make_conversation()
    make_reply(make_message(conversation))
    kept = make_message(other)
    execute("DELETE FROM conversations WHERE id = %s", conversation.id)
    assert list(Message.objects.values_list("id", flat=True)) == [kept.id]


def test_an_assistant_that_goes_leaves_its_conversations() -> None:
    assistant = Assistant.objects.create(name="A")
    conversation = make_conversation(assistant=assistant)
    assistant.delete()
    conversation.refresh_from_db()
    assert conversation.assistant_id is None


def test_the_predecessor_s_inserts_still_work() -> None:
    [(conversation_id,)] = execute("INSERT INTO conversations (user_id, title) VALUES (%s, 't') RETURNING id", USER_ID)
    sql = "INSERT INTO messages (conversation_id, role, content) VALUES (%s, 'user', 'hi') RETURNING id"
    [(message_id,)] = execute(sql, conversation_id)
    conversation = Conversation.objects.get(id=conversation_id)
    assert (conversation.model_tag, conversation.is_favorited, conversation.title_source) == ("default", False, "default")
    assert conversation.updated_at is not None
    message = Message.objects.get(id=message_id)
    assert (message.status, message.is_active, message.stop_requested, message.parent_id) == ("complete", True, False, None)


def test_ids_made_later_sort_later() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert {one.version for one in ids} == {7}


def test_names() -> None:
    assert str(make_conversation(title="A title")) == "A title"
    assert str(make_conversation(title=None)) == "New conversation"


@pytest.mark.parametrize(
    ("index", "query"),
    [
        ("idx_conversations_user", "SELECT * FROM conversations WHERE user_id = %s ORDER BY updated_at DESC LIMIT 5"),
        ("idx_messages_in_order", "SELECT * FROM messages WHERE conversation_id = %s ORDER BY created_at LIMIT 5"),
        ("uq_messages_running", "SELECT * FROM messages WHERE conversation_id = %s AND status = 'streaming'"),
        ("idx_messages_parent", "SELECT * FROM messages WHERE parent_id = %s"),
        ("idx_conversations_assistant", "SELECT * FROM conversations WHERE assistant_id = %s"),
    ],
)
def test_questions_have_an_index(index: str, query: str) -> None:
    execute("SET LOCAL enable_seqscan = off")
    execute("SET LOCAL enable_bitmapscan = off")
    plan = "\n".join(line for (line,) in execute(f"EXPLAIN {query}", uuid.uuid4()))
    assert index in plan
