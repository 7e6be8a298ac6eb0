"""Which assistants there are to talk to."""

from conversations.exceptions import AssistantNotFound
from conversations.ids import parse_id
from conversations.models import Assistant


def find_assistant(assistant_id: str) -> Assistant:
    """Return an assistant in use. Raises `AssistantNotFound`, for a malformed id too: it names nothing."""
    parsed = parse_id(assistant_id)
    assistant = None if parsed is None else Assistant.objects.filter(id=parsed, is_active=True).first()
    if assistant is None:
        raise AssistantNotFound
    return assistant
