"""Find assistants."""

from conversations.exceptions import AssistantNotFound
from conversations.ids import parse_id
from conversations.models import Assistant


def find_assistant(assistant_id: str) -> Assistant:
    """Return an active assistant. Raises `AssistantNotFound`, also for a malformed id."""
    parsed = parse_id(assistant_id)
    assistant = None if parsed is None else Assistant.objects.filter(id=parsed, is_active=True).first()
    if assistant is None:
        raise AssistantNotFound
    return assistant
