"""What the OpenAI surface reads: responses, conversations and pages of items."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import QueryDict
from rest_framework.exceptions import ValidationError

from conversations.exceptions import ConversationNotFound, MessageNotFound
from conversations.keyset import SortKey, after_key
from conversations.known_times import with_conversation_times, with_message_times
from conversations.message_batches import cut_batch, select_batch
from conversations.models import Conversation, Message, Role
from conversations.placeholders import WITHOUT_TEXT
from conversations.querysets import MessageQuerySet
from conversations.surfaces.openai.identifiers import MESSAGE, REASONING, ItemNotFound, ResponseNotFound, read_item_id
from conversations.surfaces.openai.responses import ITEM_COLUMNS, RESPONSE_COLUMNS, Row, conversation_body, item_list, items_of
from conversations.surfaces.query_parameters import read_whole_number

DEFAULT_LIMIT = 20
MOST_ITEMS = 100


def read_response_row(reply_id: UUID, user_id: UUID) -> Row:
    """Return RESPONSE_COLUMNS of a user's reply. One query. Raises `ResponseNotFound`."""
    found = Message.objects.visible_to(user_id).replies().filter(id=reply_id)
    row = found.values(*RESPONSE_COLUMNS).first()
    if row is None:
        raise ResponseNotFound
    return with_message_times([row])[0]


def read_conversation(conversation_id: UUID, user_id: UUID) -> dict[str, Any]:
    """Return a user's conversation. One query. Raises `ConversationNotFound`."""
    found = Conversation.objects.visible_to(user_id).filter(id=conversation_id)
    row = found.values("id", "created_at", "metadata").first()
    if row is None:
        raise ConversationNotFound
    return conversation_body(with_conversation_times([dict(row)])[0])


def read_items(conversation_id: UUID, params: QueryDict) -> dict[str, Any]:
    """Read a page of a conversation's items. Two queries at most."""
    return _read_page(Message.objects.in_conversation(conversation_id).active_branch(), params)


def read_input_items(reply_id: UUID, user_id: UUID, params: QueryDict) -> dict[str, Any]:
    """Read a page of what a response answers: its question, and the messages that came with it. Raises `ResponseNotFound`."""
    replies = Message.objects.visible_to(user_id).replies().filter(id=reply_id)
    reply = replies.values("conversation_id", "parent_id", "request_options").first()
    if reply is None:
        raise ResponseNotFound
    messages = Message.objects.in_conversation(reply["conversation_id"])
    asked = messages.filter(id=reply["parent_id"])
    question = asked.values("id", "created_at").first()
    options = reply["request_options"] if isinstance(reply["request_options"], dict) else {}
    brought = options.get("brought")
    if question is not None and (options.get("has_history") or isinstance(brought, int)):
        before = after_key(SortKey(question["created_at"], question["id"]), "created_at", descending=True)
        came_with_it = messages.active_branch().filter(before)
        if isinstance(brought, int):
            newest = came_with_it.newest_first().values_list("id", flat=True)
            came_with_it = messages.filter(id__in=list(newest[: max(0, min(brought, MOST_ITEMS))]))
        # A history is the beginning of the conversation, so it is all before the question.
        asked = came_with_it | asked
    return _read_page(asked, params)


def read_item(conversation_id: UUID, form: str) -> dict[str, Any]:
    """Return an item of a conversation. One query. Raises `ItemNotFound`."""
    found_id = read_item_id(form)
    row = Message.objects.in_conversation(conversation_id).filter(id=found_id).values(*ITEM_COLUMNS).first()
    wanted = (REASONING if form.startswith(REASONING) else MESSAGE) + found_id.hex
    items = [item for item in items_of(row) if item["id"] in (wanted, form)] if row else []
    if not items:
        raise ItemNotFound
    return items[0]


def read_added_items(conversation_id: UUID, ids: Sequence[UUID]) -> dict[str, Any]:
    """Return the list of the items of these messages, in their order. One query."""
    rows = Message.objects.in_conversation(conversation_id).filter(id__in=ids).oldest_first().values(*ITEM_COLUMNS)
    return item_list([item for row in rows for item in items_of(row)], has_more=False)


@dataclass(frozen=True, slots=True)
class _After:
    """The last item that a client has, and the row that it belongs to."""

    item_id: str
    key: SortKey


def _read_page(messages: MessageQuerySet, params: QueryDict) -> dict[str, Any]:
    limit = read_whole_number(params, "limit", DEFAULT_LIMIT, least=1, most=MOST_ITEMS)
    order = params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise ValidationError({"order": ["Must be asc or desc."]})
    descending = order == "desc"
    after = _read_after(messages, params)
    if after is not None:
        # The row itself too, because a reply may have a second item.
        messages = messages.filter(after_key(after.key, "created_at", descending=descending)) | messages.filter(id=after.key.id)
    # Replies without a word have no item.
    messages = messages.exclude(WITHOUT_TEXT, role=Role.ASSISTANT, reasoning="", tool_calls__isnull=True)
    rows, has_more = cut_batch(list(select_batch(messages, ITEM_COLUMNS, limit + 1, descending=descending)), limit + 1)
    items = [item for row in rows for item in items_of(row)[:: -1 if descending else 1]]
    if after is not None:
        places = [place for place, item in enumerate(items) if item["id"] == after.item_id]
        items = items[places[0] + 1 :] if places else items
    return item_list(items[:limit], has_more=has_more or len(items) > limit)


def _read_after(messages: MessageQuerySet, params: QueryDict) -> _After | None:
    item_id = params.get("after")
    if not item_id:
        return None
    try:
        found_id = read_item_id(item_id)
    except ItemNotFound:
        raise AfterNotFound from None
    row = messages.filter(id=found_id).values("created_at", "id").first()
    if row is None:
        raise AfterNotFound
    return _After(str(item_id), SortKey(row["created_at"], row["id"]))


class AfterNotFound(MessageNotFound):
    detail = "`after` must be the id of an item of this list."
