"""Ids in OpenAI's form: a prefix that names the kind, and the hex digits of our row's id.

Ids without the prefix are understood too, so that the ids of the other surfaces work here.
"""

from uuid import UUID

from conversations.exceptions import ConversationNotFound, MessageNotFound
from conversations.ids import parse_id

CONVERSATION = "conv_"
RESPONSE = "resp_"
MESSAGE = "msg_"
REASONING = "rs_"
COMPLETION = "chatcmpl-"
# Of a reply's calls: with the number of the call at the end. Of their outputs.
CALL = "fc_"
OUTPUT = "fco_"
ITEMS = (MESSAGE, REASONING, CALL, OUTPUT)


def conversation_form(conversation_id: UUID) -> str:
    return CONVERSATION + conversation_id.hex


def response_form(reply_id: UUID) -> str:
    return RESPONSE + reply_id.hex


def message_form(message_id: UUID) -> str:
    return MESSAGE + message_id.hex


def reasoning_form(reply_id: UUID) -> str:
    return REASONING + reply_id.hex


def call_form(reply_id: UUID, number: int) -> str:
    return f"{CALL}{reply_id.hex}_{number}"


def output_form(message_id: UUID) -> str:
    return OUTPUT + message_id.hex


def completion_form(reply_id: UUID) -> str:
    return COMPLETION + reply_id.hex


def read_conversation_id(form: str) -> UUID:
    """Parse an id. Raises `ConversationNotFound` if it is malformed, because no row has that id."""
    found = parse_id(form.removeprefix(CONVERSATION))
    if found is None:
        raise ConversationNotFound
    return found


def read_response_id(form: str) -> UUID:
    """Parse an id. Raises `ResponseNotFound` if it is malformed, because no row has that id."""
    found = parse_id(form.removeprefix(RESPONSE))
    if found is None:
        raise ResponseNotFound
    return found


def read_item_id(form: str) -> UUID:
    """Parse the id of an item: that of its message. Raises `ItemNotFound` if it is malformed."""
    prefix = next(filter(form.startswith, ITEMS), "")
    bare = form.removeprefix(prefix)
    found = parse_id(bare.partition("_")[0] if prefix == CALL else bare)
    if found is None:
        raise ItemNotFound
    return found


def read_call_number(form: str) -> int | None:
    """Return which call of its reply an item is, None for other items. Raises `ItemNotFound` if that is malformed."""
    if not form.startswith(CALL):
        return None
    number = form.removeprefix(CALL).partition("_")[2]
    if not (number.isascii() and number.isdigit() and len(number) < 3):
        raise ItemNotFound
    return int(number)


class ItemNotFound(MessageNotFound):
    detail = "This item does not exist in this conversation."


class ResponseNotFound(MessageNotFound):
    detail = "This response does not exist, or it belongs to another user."
